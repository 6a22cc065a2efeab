"""The training of one stage as one worker runs it, in the driver's process or on Ray."""

from collections.abc import Callable

import ray
import ray.train
import torch

from na_ray.config import Experiment
from na_ray.run.data import loader
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.loop import train_stage
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES, AnyDataset


def train_here(
    experiment: Experiment,
    dataset: AnyDataset,
    run: RunFolder,
    report: Callable[[dict[str, float]], None] = lambda _: None,
) -> None:
    """Train in this process, without Ray: for debugging, and for machines that are too small for it."""
    cuda = experiment.train.device == "cuda" or (experiment.train.device == "auto" and torch.cuda.is_available())
    worker = Worker(0, 1, torch.device("cuda:0" if cuda else "cpu"), report)
    train_worker(experiment, dataset, run, worker)


def train_worker(experiment: Experiment, dataset: AnyDataset, run: RunFolder, worker: Worker) -> None:
    """Train a stage as one of the workers."""
    parts = STAGES[run.stage]
    num_slots = parts.slots(experiment) or worker.world
    slots = tuple(range(worker.rank, num_slots, worker.world))
    context = TrainContext(experiment, dataset.rig, run, worker)
    distributed = ray.is_initialized() and experiment.train.num_workers > 0
    train_stage(
        parts.trainer(context, dataset),
        context,
        lambda step: loader.StepLoader(parts.order(dataset, slots, num_slots, step), distributed=distributed),
    )
