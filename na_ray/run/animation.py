"""Frames of a film drawn side by side on Ray's workers: poses and texture maps go out, pictures come back."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from na_ray.config import Experiment, override
from na_ray.render import Drawer, FrameTask, draw_here
from na_ray.run.crew import Crew, Hands, ThisProcess, device_of_cluster

CHUNK = 4
"""Frames that a worker is given at a time."""


def drawing(drawer: Drawer, device: str) -> Callable[[list[FrameTask]], list[np.ndarray]]:
    """What draws some frames on a worker, with a drawer of its own."""
    here = drawer.on(device)
    return lambda tasks: [here.draw(t.pose, t.texture, t.camera) for t in tasks if t.texture is not None]


def draw_on_ray(
    drawer: Drawer, workers: int, device: Literal["auto", "cpu", "cuda"], tasks: Iterator[FrameTask]
) -> Iterator[np.ndarray | None]:
    """Draw frames on `workers` of Ray's, each with a CPU or, by `device`, a GPU to itself; pictures come in order, None
    for a frame that is kept. Frames of a worker that dies are drawn by another. Raises UserError, one line, where there
    is no GPU to draw on."""
    from na_ray.run.cluster.connection import connect

    connect(override(Experiment(), {"train.num_workers": workers}))
    with Crew(workers, device_of_cluster(device, "draw on")) as crew:
        yield from draw_by(crew, drawer.on("cpu"), tasks)


def draw_by(hands: Hands, drawer: Drawer, tasks: Iterator[FrameTask]) -> Iterator[np.ndarray | None]:
    """The same by hands that are there already."""
    if isinstance(hands, ThisProcess):
        yield from draw_here(drawer.on(hands.device), tasks)
        return
    given = deque[list[FrameTask]]()
    for pictures in hands.in_order(drawing, drawer, _chunks(tasks, given)):
        found = iter(pictures)
        yield from (None if task.texture is None else next(found) for task in given.popleft())


def _chunks(tasks: Iterator[FrameTask], given: deque[list[FrameTask]]) -> Iterator[list[FrameTask]]:
    """The frames that are to be drawn, some at a time; `given` takes them with those between that are kept."""
    chunk, wanted = list[FrameTask](), list[FrameTask]()
    for task in tasks:
        chunk.append(task)
        if task.texture is not None:
            wanted.append(task)
        if len(wanted) == CHUNK or len(chunk) == 4 * CHUNK:
            given.append(chunk)
            yield wanted
            chunk, wanted = [], []
    if chunk:
        given.append(chunk)
        yield wanted
