"""A stage trained by two processes that share its steps as Ray Train's workers do, without Ray: seconds, not minutes.

What Ray adds (its workers, its readers, those that are killed) is tested with the NeRF in test_train.py, and what its
readers deliver of each stage's rows in tests/run/data.
"""

import socket
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment
from na_ray.run.train.context import Worker
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES
from na_ray.run.train.worker import train_worker


def train_alone(experiment: Experiment) -> Path:
    """Train the experiment's only stage in this process. Returns the checkpoint of the last step."""
    return _train(experiment, 0, 1)


def train_together(experiments: Sequence[Experiment]) -> list[Path]:
    """Train each experiment's only stage in two new processes. Returns the checkpoints of the last steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(_work, (list(experiments), port), nprocs=2, start_method="spawn")
    return [_run_of(experiment).checkpoints.root / _last(experiment) for experiment in experiments]


def _work(rank: int, experiments: list[Experiment], port: int) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    for experiment in experiments:
        _train(experiment, rank, 2)
    torch.distributed.destroy_process_group()


def _train(experiment: Experiment, rank: int, world: int) -> Path:
    run = _run_of(experiment)
    run.folder.mkdir(parents=True, exist_ok=True)
    dataset = STAGES[run.stage].make_dataset(Capture.open(experiment.capture), experiment)
    train_worker(experiment, dataset, run, Worker(rank, world, torch.device("cpu"), lambda _: None))
    return run.checkpoints.root / _last(experiment)


def _run_of(experiment: Experiment) -> RunFolder:
    (stage,) = experiment.stages
    return RunFolder(Path(experiment.storage) / experiment.name, stage, experiment.train.keep_last)


def _last(experiment: Experiment) -> str:
    steps = experiment.texture.steps if experiment.stages == ("texture",) else experiment.train.steps
    return f"step_{steps:06d}"
