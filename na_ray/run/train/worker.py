"""The training of one stage as one worker runs it, in the driver's process or on Ray."""

import contextlib
from collections.abc import Callable, Iterator

import ray
import ray.train
import torch

from na_ray.config import Experiment
from na_ray.config.values import UserError
from na_ray.run.data import loader
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.loop import train_stage
from na_ray.run.train.repeatable import repeatable
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES, AnyDataset

MEMORY_SIGNS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What torch, the driver of the GPU and its libraries say when memory ends."""


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
    num_slots = parts.slots(experiment)
    slots = tuple(range(worker.rank, num_slots, worker.world))
    context = TrainContext(experiment, dataset.rig, run, worker)
    distributed = ray.is_initialized() and experiment.train.num_workers > 0
    with memory_told(parts.lighter), repeatable(experiment.train.deterministic, worker.device):
        train_stage(
            parts.trainer(context, dataset),
            context,
            lambda step: loader.StepLoader(parts.order(dataset, slots, num_slots, step), distributed=distributed),
        )


@contextlib.contextmanager
def memory_told(lighter: str) -> Iterator[None]:
    """Turn a device's "out of memory" into the user's mistake, which ends the run: the same step would not fit again.

    `lighter` names the knobs to lower.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the allocator of the CPU raises the plain class
        if not isinstance(error, torch.OutOfMemoryError) and not any(sign in str(error) for sign in MEMORY_SIGNS):
            raise
        first = str(error).splitlines()[0][:300]
        raise UserError(f"the device's memory is too small ({first}): lower {lighter}") from error
