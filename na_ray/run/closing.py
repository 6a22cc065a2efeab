"""When training is over: score the best checkpoint on what it never saw, film it, and tell MLflow."""

from pathlib import Path

import numpy as np
import torch

from na_ray.capture.dataset import Capture
from na_ray.capture.trajectory import body_center, orbit, up_of
from na_ray.checkpoint import Actor, load_actor
from na_ray.config import parse_indices
from na_ray.evaluate import evaluate
from na_ray.render import Motion, View, render_sequence
from na_ray.run.tracking import Tracker
from na_ray.scores import Scores


def close(checkpoint: Path, capture: Capture, folder: Path, tracker: Tracker) -> None:
    """Write scores and a film below `folder`, print the tables, and store all of it in the stage's MLflow run."""
    actor = load_actor(checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
    config = actor.config
    if config.report.frames:
        for name, scores in score(actor, capture).items():
            scores.save(folder / "report" / f"{name}.json")
            print(f"\n{_TITLES[name]}\n{scores.table()}", flush=True)
            tracker.scores(_flat(name, scores), config.train.steps)
    if config.report.film_frames:
        print(f"\nfilm: {film(actor, capture, folder / 'film')}", flush=True)
    for name in ("report", "film"):
        if (folder / name).exists():
            tracker.files(folder / name, name)


_TITLES = {
    "cameras": "Held-out cameras, frames of the training motion",
    "motion": "Held-out motion, its own texture maps, all cameras",
}


def score(actor: Actor, capture: Capture) -> dict[str, Scores]:
    """Scores on the held-out cameras of training frames, and on the held-out motion through all cameras."""
    data, report = actor.config.data, actor.config.report
    training = capture.split(data.train_split)
    seen = parse_indices(data.train_views, len(training.cameras))
    held_out = [v for v in range(len(training.cameras)) if v not in seen]
    small = training.cameras[0].fitted(report.size)
    size = (small.height, small.width)
    found = {}
    if held_out:
        frames = _spaced(training.num_frames, report.frames)
        found["cameras"] = evaluate(actor, capture, data.train_split, frames, held_out, size)
    if data.test_split in capture.splits:
        testing = capture.split(data.test_split)
        frames = _spaced(testing.num_frames, report.frames)
        found["motion"] = evaluate(actor, capture, data.test_split, frames, range(len(testing.cameras)), size)
    return found


def _spaced(count: int, wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))


def _flat(name: str, scores: Scores) -> dict[str, float]:
    """`cameras/renderer/box/psnr` and so on; what is missing is left out."""
    return {
        f"{name}/{method}/{crop}/{metric}": value
        for method, crops in scores.summary().items()
        for crop, values in crops.items()
        for metric, value in values.items()
        if value is not None
    }


def film(actor: Actor, capture: Capture, out: Path) -> Path:
    """An orbit around the held-out motion (else the training motion), rendering and textured mesh side by side."""
    data, report = actor.config.data, actor.config.report
    split = capture.split(data.test_split if data.test_split in capture.splits else data.train_split)
    count = report.film_frames
    # There and back, so that the film may loop.
    there = np.abs((np.arange(count) / max(1, count) * 2 + 1) % 2 - 1)
    frames = (there * (split.num_frames - 1)).round().astype(int).tolist()
    center = body_center(split.pose(f) for f in sorted(set(frames)))
    path = orbit(split.cameras[0].fitted(report.size), center, count, up=up_of(split.cameras))
    views: tuple[View, ...] = ("color", "mesh", "depth", "normals")
    return render_sequence(actor, Motion(split, frames), path, out, views, side_by_side=True, overwrite=True)[-1]
