"""A stage on Ray Train's workers."""

import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, from_dict, to_dict
from na_ray.config.values import UserError
from na_ray.run.cluster.connection import connect
from na_ray.run.cluster.notice import time_left
from na_ray.run.cluster.resources import check_room, free_resources, num_workers, reachable, uses_gpu
from na_ray.run.train.context import Worker
from na_ray.run.train.interrupt import stop_on_termination
from na_ray.run.train.restart_policy import RestartPolicy, mistake_in
from na_ray.run.train.run_folder import RunFolder
from na_ray.run.train.stages import STAGES
from na_ray.run.train.worker import train_worker

# Seconds in which Ray starts the workers of elastic training that it has counted room for, before it counts again.
ELASTIC_WAIT = "30"


# How often Ray tries to start workers for which machines are missing; by its default, a try takes a minute.
MOST_STARTS = 24 * 60


def train_on_ray(experiment: Experiment, run: RunFolder, callbacks: Sequence[UserCallback] = ()) -> None:
    """Train on Ray's workers; those that die are started again and go on from the latest checkpoint."""
    connect(experiment)
    train_config, available = experiment.train, reachable()
    workers = num_workers(train_config, available)
    if workers < train_config.num_workers:
        gpus = f"{workers} GPU" + ("s" if workers > 1 else "")
        print(f"workers   {workers} of {train_config.num_workers}: this Ray has {gpus}; steps are the same", flush=True)
        train_config = replace(train_config, num_workers=workers)
        experiment = replace(experiment, train=train_config)
    use_gpu = uses_gpu(train_config, available)
    check_room(train_config, available, use_gpu)
    if not use_gpu and train_config.device == "auto":
        print(f"device    CPUs: this Ray has no GPU ({free_resources()})", flush=True)
    resources = {"CPU": train_config.cpus_per_worker} | ({"GPU": 1} if use_gpu else {})
    most = train_config.num_workers
    if train_config.min_workers:  # else the time for which Ray waits for all workers before it takes fewer
        os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = ELASTIC_WAIT
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"experiment": to_dict(experiment), "root": str(run.root), "stage": run.stage},
        torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(train_config.min_workers, most) if train_config.min_workers else most,
            use_gpu=use_gpu,
            resources_per_worker=resources,
        ),
        # Checkpoints are the run's own: Ray keeps only its records here, under a new name each time.
        run_config=RunConfig(
            name=f"{run.stage}-{uuid.uuid4().hex[:8]}",
            storage_path=str(run.root / "ray"),
            failure_config=FailureConfig(max_failures=-1, controller_failure_limit=MOST_STARTS),
            logging_config=ray.train.LoggingConfig(log_level="ERROR"),
            callbacks=[RestartPolicy(run.checkpoints, train_config.max_failures), *callbacks],
        ),
    )
    with stop_on_termination(run.folder):
        _fit(trainer)


def _fit(trainer: TorchTrainer) -> None:
    try:
        trainer.fit()
    except TrainingFailedError as error:
        mistake = mistake_in(error)  # that only training could find, such as a video that turned unreadable
        raise (mistake or error) from error


def _worker(config: dict[str, Any]) -> None:
    """One Ray Train worker."""
    experiment = from_dict(Experiment, config["experiment"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if ray.get_gpu_ids() and not torch.cuda.is_available():
        raise UserError(
            f"{socket.gethostname()}: Ray gave this worker a GPU that torch {torch.__version__} there cannot use: "
            "install a build of torch with CUDA on every node, or choose --train.device cpu"
        )
    device = ray.train.torch.get_device()
    if device.type == "cpu":  # Ray sets one thread per CPU reserved; the other cores are used, but one that decodes
        torch.set_num_threads(max(1, ((os.cpu_count() or 1) - 1) // context.get_local_world_size()))
    run = RunFolder(Path(config["root"]), config["stage"], experiment.train.keep_last)
    dataset = STAGES[run.stage].make_dataset(Capture.open(experiment.capture), experiment)
    train_worker(experiment, dataset, run, Worker(rank, world, device, ray.train.report, time_left))
