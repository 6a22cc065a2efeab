"""The end of a stage as pieces of work: each is done once, here or on Ray's workers, and kept until all are done.

    closing = Closing(checkpoint, folder, tracker, hands)
    closing.begin(...)                      what an end that was interrupted has left counts, if it is of the same facts
    closing.pieces("scores", scoring, (actor, exams), frames)
    closing.once("version", lambda: log_actor(...))

The stage's folder `closing/` holds a file a piece, until the stage is closed.
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
import torch
from torch import Tensor

from na_ray.capture.image import Map
from na_ray.config import Experiment
from na_ray.pictures import png
from na_ray.render import Drawer, FrameTask
from na_ray.run.animation import draw_by
from na_ray.run.cluster.connection import connect
from na_ray.run.cluster.resources import is_this_machine, reachable
from na_ray.run.crew import Crew, Hands, Preparation, ThisProcess
from na_ray.run.tracking.runs import Tracker

KEPT = "closing"
"""The folder of what is done, in the stage's."""

Made = TypeVar("Made")


@dataclass(eq=False)
class Closing:
    """The end of a stage: its best checkpoint, who does the work, and what is done."""

    checkpoint: Path
    folder: Path
    """The stage's."""
    tracker: Tracker
    hands: Hands
    mean: Map | None = None
    """The mean of the training's texture maps, once it is known."""

    @property
    def step(self) -> int:
        """The checkpoint's."""
        return int(self.checkpoint.name.removeprefix("step_"))

    @property
    def kept(self) -> Path:
        """The folder of what is done."""
        return self.folder / KEPT

    def begin(self, *facts: Tensor | np.ndarray | str, stale: Sequence[Path] = ()) -> None:
        """`facts` decide the results: what was kept for others goes, and with it the files and folders of `stale`."""
        mark, path = png.digest(*facts), self.kept / "of.txt"
        if path.is_file() and path.read_text() == mark:
            print(f"closing   goes on: {len(list(self.kept.glob('*.pt')))} pieces of it are done", flush=True)
            return
        for place in (self.kept, *stale):
            shutil.rmtree(place, ignore_errors=True)
        self.kept.mkdir(parents=True)
        path.write_text(mark)

    def pieces(self, name: str, prepare: Preparation, shared: Any, pieces: Sequence[Any]) -> list[Any]:
        """The results of pieces of work, in order; those that are kept are not done again. Results are numbers, texts,
        tensors, and lists, tuples and dictionaries of them."""
        paths = [self.kept / f"{name}_{i:05d}.pt" for i in range(len(pieces))]
        missing = [i for i, path in enumerate(paths) if not path.is_file()]
        if missing:
            for place, result in self.hands.each(prepare, shared, [pieces[i] for i in missing]):
                _keep(paths[missing[place]], result)
        return [torch.load(path, weights_only=True) for path in paths]

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, the first time that it is asked for by that name."""
        path = self.kept / f"{name}.pt"
        if not path.is_file():
            _keep(path, make())
        return torch.load(path, weights_only=True)

    def draw(self, drawer: Drawer, tasks: Iterator[FrameTask]) -> Iterator[np.ndarray | None]:
        """Draw the frames of a film: what `render_sequence` asks for."""
        return draw_by(self.hands, drawer, tasks)

    def log_scores(self, name: str, values: dict[str, float]) -> None:
        """Log closing scores to the stage's run, once."""
        self.once(f"logged_{name}", lambda: self.tracker.scores(values, self.step))

    def log_files(self, names: Iterable[str]) -> None:
        """Store folders of the stage in its run, as far as they are there, once."""
        for name in names:
            if (self.folder / name).exists():
                self.once(f"stored_{name}", functools.partial(self.tracker.files, self.folder / name, name))


def forget(folder: Path) -> None:
    """A stage is closed, and its folder says so: what was kept on the way goes."""
    shutil.rmtree(folder / KEPT, ignore_errors=True)


def _keep(path: Path, result: Any) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(result, aside)
    os.replace(aside, path)


@contextlib.contextmanager
def closing_hands(experiment: Experiment) -> Iterator[Hands]:
    """Who closes a stage: as many of Ray's workers as train, on the same kind of device; this process where they have
    nothing that it lacks: without Ray, and on the CPUs of this machine, where to start them takes longer than they
    save."""
    train = experiment.train
    if train.num_workers:
        connect(experiment)
    joined = ray.is_initialized()  # as a sweep's driver has, whatever its trials are
    on_gpu = joined and train.device != "cpu" and reachable().get("GPU", 0) > 0
    if on_gpu or (train.num_workers and not is_this_machine()):
        with Crew(max(1, train.num_workers), "cuda" if on_gpu else "cpu", train.cpus_per_worker) as crew:
            yield crew
    else:
        cuda = train.device != "cpu" and torch.cuda.is_available()
        yield ThisProcess("cuda" if cuda else "cpu")
