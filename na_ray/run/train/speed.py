"""How fast the devices that will train multiply matrices, measured where they are: what the preflight's time is of."""

import os
from dataclasses import dataclass

import ray
import torch
from ray.exceptions import RayError

from na_ray.config import Experiment
from na_ray.models.gemm import gemm_rate
from na_ray.run.cluster.address import named_cluster
from na_ray.run.cluster.connection import connect
from na_ray.run.cluster.resources import is_this_machine, reachable, uses_gpu
from na_ray.run.tracking.progress import clock

PATIENCE = 60.0
"""Seconds that a worker may take to start and measure: other trainings may hold all of the cluster."""


@dataclass(frozen=True)
class TrainingSpeed:
    """Of all workers together."""

    rate: float | None
    """Multiply-adds a second; None: it could not be measured."""
    where: str
    """On what, or why not, in words."""

    def line(self, operations: float) -> str:
        """What the preflight says of a training of so many multiply-adds."""
        if self.rate is None:
            return f"time      not estimated: {self.where}"
        seconds = operations / self.rate
        told = clock(seconds) if seconds >= 1 else "less than a second"
        return f"time      {told} of matrix products alone on {self.where}, at the measured rate"


def training_speed(experiment: Experiment) -> TrainingSpeed:
    """Measure the device that trains: this machine's, or that of a worker of a named cluster of several, by a task of a
    second that holds what a worker of the training will."""
    train = experiment.train
    workers = max(1, train.num_workers)
    if train.num_workers and named_cluster() is not None:
        connect(experiment)
        if not is_this_machine():
            return speed_of_cluster(experiment)
    if train.device != "cpu" and torch.cuda.is_available():
        rate, name = measure("cuda")
        count = min(workers, torch.cuda.device_count())
        return TrainingSpeed(count * rate, _counted(count, name))
    return TrainingSpeed(gemm_rate(), "this CPU")


def speed_of_cluster(experiment: Experiment) -> TrainingSpeed:
    """The same of the cluster that this process has joined."""
    train, present = experiment.train, ray.cluster_resources()
    use_gpu = uses_gpu(train, reachable())
    if use_gpu and not present.get("GPU", 0):
        return TrainingSpeed(None, "no machine of the cluster that has a GPU is up yet")
    task = ray.remote(measure).options(num_cpus=train.cpus_per_worker, num_gpus=int(use_gpu), max_retries=0)
    ref = task.remote("cuda" if use_gpu else "cpu")
    done, _ = ray.wait([ref], timeout=PATIENCE)
    if not done:
        ray.cancel(ref, force=True)
        return TrainingSpeed(None, f"no worker of the cluster was free within {PATIENCE:.0f} s")
    try:
        rate, name = ray.get(ref)
    except RayError as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        return TrainingSpeed(None, f"a worker could not measure its device ({reason})")
    # Workers on one machine share its cores, and have a GPU each.
    places = int(present["GPU"]) if use_gpu else sum(bool(node["Alive"]) for node in ray.nodes())
    count = min(train.num_workers, places)
    return TrainingSpeed(count * rate, _counted(count, name))


def measure(device: str) -> tuple[float, str]:
    """Multiply-adds a second of a device of this machine, and its name."""
    if device == "cuda":
        return gemm_rate("cuda"), torch.cuda.get_device_name()
    torch.set_num_threads(os.cpu_count() or 1)
    return gemm_rate(), f"CPU of {os.cpu_count()} cores"


def _counted(count: int, name: str) -> str:
    return f"{count} x {name}"
