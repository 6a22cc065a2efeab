"""Frames of a film drawn side by side on Ray's workers: poses and texture maps go out, pictures come back."""

import os
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import ray
import torch

from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.motion.animate import FrameTask
from na_ray.motion.drawing import FrameDrawer

CHUNK = 4
"""Frames that a worker is given at a time."""

AHEAD = 2
"""Chunks a worker may have waiting: memory stays the same however long the film is."""


class RemoteDrawer:
    """Draws with an avatar of its own, on a worker."""

    def __init__(self, drawer: FrameDrawer, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.drawer = _on(drawer, device)

    def draw(self, tasks: list[FrameTask]) -> list[np.ndarray]:
        """The pictures of some frames."""
        return [self.drawer.draw(t.pose, t.texture, t.camera) for t in tasks if t.texture is not None]


def _on(drawer: FrameDrawer, device: str) -> FrameDrawer:
    """The same with its avatar on another kind of device."""
    actor = drawer.actor
    moved = TrainedAvatar(actor.model.to(device), actor.body.to(device=device), actor.config)
    return FrameDrawer(moved, drawer.views, drawer.background, drawer.transparent, drawer.supersample)


def draw_on_ray(
    drawer: FrameDrawer, workers: int, device: Literal["auto", "cpu", "cuda"], tasks: Iterator[FrameTask]
) -> Iterator[np.ndarray | None]:
    """Draw frames on `workers` of Ray's, each with a CPU or, by `device`, a GPU to itself; pictures come in order, None
    for a frame that is kept. Frames of a worker that dies are drawn by another. Raises UserError, one line, where there
    is no GPU to draw on."""
    from na_ray.run.cluster.connection import connect

    connect(override(Experiment(), {"train.num_workers": workers}))
    has_gpu = ray.cluster_resources().get("GPU", 0) > 0
    if device == "cuda" and not has_gpu:
        raise UserError("the cluster has no GPU to draw on: choose --device cpu, or auto")
    where = "cuda" if has_gpu and device != "cpu" else "cpu"
    shared = ray.put(_on(drawer, "cpu"))
    kind = ray.remote(RemoteDrawer).options(
        num_cpus=1, num_gpus=int(where == "cuda"), max_restarts=3, max_task_retries=3
    )
    threads = max(1, (os.cpu_count() or 1) // workers)
    crew = [kind.remote(shared, where, threads) for _ in range(workers)]
    try:
        yield from _in_order(crew, tasks)
    finally:
        for worker in crew:
            ray.kill(worker)


def _in_order(crew: list[Any], tasks: Iterator[FrameTask]) -> Iterator[np.ndarray | None]:
    """Hand out chunks in turn and take their pictures in the order of the frames."""
    waiting: deque[tuple[list[FrameTask], ray.ObjectRef]] = deque()
    turn, chunk = 0, list[FrameTask]()
    for task in tasks:
        chunk.append(task)
        if sum(t.texture is not None for t in chunk) == CHUNK or len(chunk) == 4 * CHUNK:
            waiting.append((chunk, crew[turn % len(crew)].draw.remote(chunk)))
            turn, chunk = turn + 1, []
        if len(waiting) > AHEAD * len(crew):
            yield from _taken(*waiting.popleft())
    if chunk:
        waiting.append((chunk, crew[turn % len(crew)].draw.remote(chunk)))
    while waiting:
        yield from _taken(*waiting.popleft())


def _taken(chunk: list[FrameTask], ref: "ray.ObjectRef") -> Iterator[np.ndarray | None]:
    pictures = iter(ray.get(ref))
    yield from (None if task.texture is None else next(pictures) for task in chunk)
