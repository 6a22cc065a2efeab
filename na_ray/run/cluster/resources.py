"""What the cluster can offer: what is there now, and what its autoscaler may add."""

import json
import math
from pathlib import Path
from typing import Any

import ray

from na_ray.config import TrainConfig
from na_ray.config.values import UserError
from na_ray.run.cluster import kuberay

BOOTSTRAP = Path("ray_bootstrap_config.yaml")
"""Where `ray up` leaves the cluster's configuration, in the home folder of the head."""


def reachable(home: Path | None = None) -> dict[str, float]:
    """Resources (CPU, GPU, ...) of the cluster that this process is connected to, at its largest.

    On the head of an autoscaling cluster, that counts machines which are not started yet: training asks for them and
    waits. Elsewhere it is what the cluster has now.
    """
    present = dict(ray.cluster_resources())
    config = (home or Path.home()) / BOOTSTRAP
    cluster = json.loads(config.read_text()) if config.exists() else kuberay.promised()
    if cluster is None:
        return present
    promised = largest(cluster)
    return {name: max(present.get(name, 0.0), promised.get(name, 0.0)) for name in present.keys() | promised.keys()}


def largest(cluster: dict[str, Any]) -> dict[str, float]:
    """Resources of a cluster's configuration when all the workers it allows are up.

    Types of nodes share the limit on all workers; one resource at a time, the richest type fills it first.
    """
    types = cluster["available_node_types"]
    head = types[cluster["head_node_type"]]["resources"]
    workers = [node for name, node in types.items() if name != cluster["head_node_type"]]
    totals = {}
    for name in {r for node in types.values() for r in node["resources"]}:
        left, total = cluster["max_workers"], float(head.get(name, 0))
        for node in sorted(workers, key=lambda n: n["resources"].get(name, 0), reverse=True):
            count = min(left, node["max_workers"])
            total += count * node["resources"].get(name, 0)
            left -= count
        totals[name] = total
    return totals


def free_resources() -> str:
    """What the cluster has free just now, as text for a user who waits."""
    if not ray.is_initialized():
        return ""
    everything, free = ray.cluster_resources(), ray.available_resources()
    parts = [f"{free.get(name, 0):g} of {everything[name]:g} {name}s" for name in ("CPU", "GPU") if name in everything]
    return f"the cluster has {' and '.join(parts)} free"


def cpu_share(train: TrainConfig) -> int:
    """CPUs that one worker's stream may decode on at a time: its part of those that the workers leave.

    Ray Data would dataset with all of them, for each worker and each training that shares the cluster.
    """
    workers = max(1, train.num_workers)
    left = ray.cluster_resources().get("CPU", 1.0) - workers * train.cpus_per_worker
    return max(1, math.ceil(left / workers))


def is_this_machine() -> bool:
    """Whether the cluster that this process is connected to is this machine alone, and stays so."""
    present = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    grows = reachable().get("CPU", 0) > ray.cluster_resources().get("CPU", 0)
    return present == [ray.get_runtime_context().get_node_id()] and not grows


def uses_gpu(train: TrainConfig, available: dict[str, float]) -> bool:
    """Whether workers get a GPU each, of what is `reachable`."""
    return train.device == "cuda" or (train.device == "auto" and available.get("GPU", 0) > 0)


def num_workers(train: TrainConfig, available: dict[str, float]) -> int:
    """Workers that train: `train.num_workers`, or the largest part of it that has a GPU each where there are fewer GPUs
    and nobody has insisted on them (`train.device` auto). Steps are the same: workers share a batch, which their number
    divides."""
    gpus = int(available.get("GPU", 0))
    if train.device != "auto" or train.min_workers or not 0 < gpus < train.num_workers:
        return train.num_workers
    return max(n for n in range(1, gpus + 1) if train.num_workers % n == 0)


def check_room(train: TrainConfig, available: dict[str, float], use_gpu: bool) -> None:
    """Refuse what would wait for ever: workers that take all CPUs leave none to decode the videos.

    Raises UserError, one line. Elastic training must find room for its fewest workers.
    """
    fewest = train.min_workers or train.num_workers
    name = "train.min_workers" if train.min_workers else "train.num_workers"
    needed = fewest * train.cpus_per_worker + 1
    if available.get("CPU", 0) < needed:
        raise UserError(
            f"{fewest} workers of {train.cpus_per_worker:g} CPUs and a decoder need {needed:g} CPUs, the cluster has "
            f"{available.get('CPU', 0):g}: lower {name} or train.cpus_per_worker"
        )
    if use_gpu and available.get("GPU", 0) < fewest:
        raise UserError(
            f"{fewest} workers need as many GPUs, the cluster has {available.get('GPU', 0):g}: "
            f"lower {name}, or choose --train.device cpu"
        )
