"""Several motions predicted side by side on Ray's workers: each is a task, since its frames depend on each other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from na_ray.capture.dataset import Capture
from na_ray.capture.storage import basename, is_url
from na_ray.checkpoint import Predictor
from na_ray.config import Experiment, override
from na_ray.config.secrets import public
from na_ray.config.values import MISTAKES, Progress, UserError
from na_ray.motion.predict import Request, predict_sequence
from na_ray.run.crew import Crew, Hands, device_of_cluster


@dataclass(frozen=True)
class MotionTask:
    """A motion, and where its texture maps go."""

    capture: str
    split: str
    out: Path


def motions(captures: Sequence[str], splits: Sequence[str], out: Path) -> list[MotionTask]:
    """One motion goes straight into `out`; of several, each into a folder named by its capture and split, as far as
    these differ.

    Raises UserError or FileNotFoundError, one line per defect, where a capture or split does not exist or two motions
    would share a folder.
    """
    places = [public(c) if is_url(c) else str(Path(c).resolve()) for c in captures]
    tasks = []
    for place, split in product(places, splits):
        Capture.open(place).split(split)
        names = ([basename(place)] if len(places) > 1 else []) + ([split] if len(splits) > 1 else [])
        tasks.append(MotionTask(place, split, out.absolute().joinpath(*names)))
    folders = [task.out for task in tasks]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: two motions would be written there: predict them one after the other")
    return tasks


def predict_motions(
    predictor: Predictor,
    tasks: Sequence[MotionTask],
    request: Request,
    workers: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Progress | None = None,
) -> list[Path]:
    """Predict all motions; returns the folders or videos that were written, in the order of `tasks`.

    `workers` of them at a time, each on a worker of Ray's with a CPU or, by `device`, a GPU to itself; 0: one after the
    other in this process, where `predictor` is. A task whose worker dies goes on elsewhere where it stopped: captures
    and outputs must be visible to all nodes. `progress` counts frames where `workers` is 0, else motions. Raises
    UserError, one line per defect, for the motions that could not be predicted, after the others are done.
    """
    if workers == 0:
        results = (_attempt(predictor, task, request, progress) for task in tasks)
        return _checked(list(results))
    from na_ray.run.cluster.connection import connect

    connect(override(Experiment(), {"train.num_workers": workers}))
    found: dict[int, Path | str] = {}
    with Crew(min(workers, len(tasks)), device_of_cluster(device, "predict on")) as crew:
        for index, result in predict_by(crew, _moved(predictor, "cpu"), tasks, request):
            found[index] = result
            if progress:
                progress(len(found), len(tasks))
    return _checked([found[i] for i in range(len(tasks))])


def _attempt(predictor: Predictor, task: MotionTask, request: Request, progress: Progress | None) -> Path | str:
    """Where the result lies, or what is wrong with the motion."""
    try:
        split = Capture.open(task.capture).split(task.split)
        return predict_sequence(predictor, split, task.out, request, progress)
    except MISTAKES as error:
        return str(error)


def _checked(results: Sequence[Path | str]) -> list[Path]:
    defects = [result for result in results if isinstance(result, str)]
    if defects:
        raise UserError("\n".join(defects))
    return [Path(result) for result in results]


def predict_by(
    hands: Hands, predictor: Predictor, tasks: Sequence[MotionTask], request: Request
) -> Iterator[tuple[int, Path | str]]:
    """(number of the task, its result), as they come: where the maps lie, or what is wrong with the motion. The
    predictor is at the hands' home."""
    return hands.each(predicting, (predictor, request), tasks, ahead=1)


def predicting(shared: tuple[Predictor, Request], device: str) -> Callable[[MotionTask], Path | str]:
    """What predicts a motion on a worker."""
    predictor, request = _moved(shared[0], device), shared[1]
    return lambda task: _attempt(predictor, task, request, None)


def _moved(predictor: Predictor, device: str) -> Predictor:
    """The predictor on another kind of device."""
    body = predictor.body.to(device=device)
    return Predictor(predictor.generator.to(device), body, predictor.config)
