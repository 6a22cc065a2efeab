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
from na_ray.run.data.frames import FrameDataset
from na_ray.run.train.context import TrainContext, Worker
from na_ray.run.train.nerf.stage import NerfTrainer
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES
from na_ray.run.train.worker import train_worker


def train_alone(experiment: Experiment) -> Path:
    """Train the experiment's only stage in this process. Returns the checkpoint of the last step."""
    return _train(experiment, 0, 1)


def train_together(experiments: Sequence[Experiment], settling: Experiment, folder: Path) -> list[Path]:
    """Train each experiment's only stage in two new processes, which settle another's running statistics at their end
    (`_settle`). Returns the checkpoints of the last steps."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(
        _work, (list(experiments), settling, folder, port), nprocs=2, start_method="spawn"
    )
    return [_run_of(experiment).checkpoints.root / _last(experiment) for experiment in experiments]


def _work(rank: int, experiments: list[Experiment], settling: Experiment, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    for experiment in experiments:
        _train(experiment, rank, 2)
    _settle(settling, rank, folder)
    torch.distributed.destroy_process_group()


def _settle(experiment: Experiment, rank: int, folder: Path) -> None:
    """Leave in `folder` the buffers of a NeRF whose running statistics were random ones of this worker before."""
    dataset = FrameDataset.make(Capture.open(experiment.capture), experiment)
    worker = Worker(rank, 2, torch.device("cpu"), lambda _: None)
    stage = NerfTrainer(TrainContext(experiment, dataset.rig, RunFolder(folder, "nerf", 1), worker), dataset)
    generator = torch.Generator().manual_seed(rank)
    for name, buffer in stage.nerf.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator))
    stage.sync_buffers()
    torch.save({name: buffer.clone() for name, buffer in stage.nerf.named_buffers()}, folder / f"{rank}.pt")


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
