"""When training is over: score the best checkpoint on what it never saw, film it, and tell MLflow."""

from pathlib import Path

import numpy as np
import torch

from na_ray.capture.dataset import Capture
from na_ray.capture.textures import Textures
from na_ray.capture.trajectory import body_center, orbit, up_of
from na_ray.checkpoint import TrainedAvatar, load_avatar
from na_ray.config import Experiment, parse_indices
from na_ray.evaluation.evaluate import evaluate
from na_ray.evaluation.scores import Scores
from na_ray.render import Motion, View, render_sequence
from na_ray.run.tracking.runs import Tracker
from na_ray.run.train.run_folder import predicted_folder


def close(checkpoint: Path, capture: Capture, folder: Path, tracker: Tracker) -> str:
    """Write scores and a film below `folder`, store all of it in the stage's MLflow run, and return the tables.

    Where the run's texture stage has predicted texture maps for the held-out motion, the film is dressed in them.
    """
    actor = load_avatar(checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
    config = actor.config
    predicted = predicted_textures(folder.parent, capture, config)
    told = []
    if config.report.frames:
        for name, scores in score(actor, capture, predicted).items():
            scores.save(folder / "report" / f"{name}.json")
            told.append(f"{_TITLES[name]}\n{scores.table()}")
            tracker.scores(_flat(name, scores), config.train.steps)
    if config.report.film_frames:
        told.append(f"film: {film(actor, capture, folder / 'film', predicted)}")
    for name in ("report", "film"):
        if (folder / name).exists():
            tracker.files(folder / name, name)
    return "\n" + "\n\n".join(told)


_TITLES = {
    "cameras": "Held-out cameras, frames of the training motion",
    "motion": "Held-out motion, its own texture maps, all cameras",
    "motion_predicted": "Held-out motion, predicted texture maps, all cameras",
}


def predicted_textures(root: Path, capture: Capture, config: Experiment) -> Textures | None:
    """The texture maps that the run's texture stage predicted for the held-out motion, if it did."""
    folder = predicted_folder(root, config.data.test_split)
    if config.data.test_split not in capture.splits or not folder.exists():
        return None
    split = capture.split(config.data.test_split)
    return Textures.open(folder, split, range(split.num_frames))


def score(actor: TrainedAvatar, capture: Capture, predicted: Textures | None = None) -> dict[str, Scores]:
    """Scores on the held-out cameras of training frames, and on the held-out motion through all cameras."""
    data, report = actor.config.data, actor.config.report
    training = capture.split(data.train_split)
    seen = parse_indices(data.train_views, len(training.cameras))
    held_out = [v for v in range(len(training.cameras)) if v not in seen]
    small = training.cameras[0].fitted(report.size)
    size, rays = (small.height, small.width), report.supersample
    found = {}
    if held_out:
        frames = _spaced(training.num_frames, report.frames)
        found["cameras"] = evaluate(actor, capture, data.train_split, frames, held_out, size, supersample=rays)
    if data.test_split in capture.splits:
        testing = capture.split(data.test_split)
        frames, cameras = _spaced(testing.num_frames, report.frames), range(len(testing.cameras))
        if testing.has_textures:
            found["motion"] = evaluate(actor, capture, data.test_split, frames, cameras, size, supersample=rays)
        if predicted is not None:
            found["motion_predicted"] = evaluate(
                actor, capture, data.test_split, frames, cameras, size, textures=predicted, supersample=rays
            )
    return found


def _spaced(count: int, wanted: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, wanted)).round().astype(int).tolist()))


def _flat(name: str, scores: Scores) -> dict[str, float]:
    """`cameras/nerf/box/psnr` and so on; what is missing is left out."""
    return {
        f"{name}/{method}/{crop}/{metric}": value
        for method, crops in scores.summary().items()
        for crop, values in crops.items()
        for metric, value in values.items()
        if value is not None
    }


def film(actor: TrainedAvatar, capture: Capture, out: Path, predicted: Textures | None = None) -> Path:
    """An orbit around the held-out motion (else the training motion), rendering and textured mesh side by side."""
    data, report = actor.config.data, actor.config.report
    dressed = predicted is not None or (
        data.test_split in capture.splits and capture.split(data.test_split).has_textures
    )
    split = capture.split(data.test_split if dressed else data.train_split)
    count = report.film_frames
    # There and back, so that the film may loop.
    there = np.abs((np.arange(count) / max(1, count) * 2 + 1) % 2 - 1)
    frames = (there * (split.num_frames - 1)).round().astype(int).tolist()
    center = body_center(split.pose(f) for f in sorted(set(frames)))
    path = orbit(split.cameras[0].fitted(report.size), center, count, up=up_of(split.cameras))
    motion = Motion(split, frames, predicted)
    views: tuple[View, ...] = ("color", "mesh", "depth", "normals")
    return render_sequence(
        actor, motion, path, out, views, side_by_side=True, overwrite=True, supersample=report.supersample
    )[-1]
