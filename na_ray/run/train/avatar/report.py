"""When an avatar's training is over: score the best checkpoint on what it never saw, film it, and tell MLflow."""

from pathlib import Path
from typing import get_args

import numpy as np
import torch

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.textures import Textures
from na_ray.capture.trajectory import body_center, orbit, up_of
from na_ray.checkpoint import TrainedAvatar, load_avatar
from na_ray.config import AvatarName, Experiment
from na_ray.config.selection import select
from na_ray.evaluation.evaluate import evaluate
from na_ray.evaluation.scores import Scores
from na_ray.motion.textures import MeanTexture
from na_ray.render import Motion, View, render_sequence
from na_ray.run.tracking.runs import Tracker
from na_ray.run.train.avatar.comparison import compare, trained_before
from na_ray.run.train.avatar.validation import spaced
from na_ray.run.train.run_folder import predicted_folder


def close(checkpoint: Path, capture: Capture, folder: Path, tracker: Tracker) -> str:
    """Write scores and a film below `folder`, store all of it in the stage's MLflow run, and return the tables.

    Where the run's texture stage has predicted texture maps for the held-out motion, the films are dressed in them. Of
    several avatars the last one's stage makes the films: an orbit of its own, and a row of all of them.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    actor = load_avatar(checkpoint, device)
    config = actor.config
    predicted = predicted_textures(folder.parent, capture, config)
    sections = []
    if config.report.frames:
        for name, scores in score(actor, capture, predicted).items():
            scores.save(folder / "report" / f"{name}.json")
            sections.append(scores.table())
            tracker.scores(_flat(name, scores), int(checkpoint.name.removeprefix("step_")))
    if config.report.film_frames and actor.name == _last_avatar(config):
        sections.append(f"film: {film(actor, capture, folder / 'film', predicted)}")
        others = trained_before(folder.parent, actor, device)
        # A radiance field would take a minute a second at more rays.
        rays = 1 if others or actor.name == "nerf" else config.report.supersample
        beside = compare([actor, *others], capture, predicted, folder / "film", rays)
        methods = ", ".join(a.name for a in (actor, *others))
        sections.append(f"photograph, {methods}, textured mesh: {beside}" if beside else "")
    for name in ("report", "film"):
        if (folder / name).exists():
            tracker.files(folder / name, name)
    return "\n" + "\n\n".join(section for section in sections if section)


def _last_avatar(config: Experiment) -> str:
    """The stage whose film shows all avatars of the run."""
    return next((stage for stage in reversed(config.stages) if stage in get_args(AvatarName)), "")


def predicted_textures(root: Path, capture: Capture, config: Experiment) -> Textures | None:
    """The texture maps that the run's texture stage predicted for the held-out motion, if it did."""
    folder = predicted_folder(root, config.data.test_split)
    if config.data.test_split not in capture.splits or not folder.exists():
        return None
    split = capture.split(config.data.test_split)
    return Textures.open(folder, split, range(split.num_frames))


def score(actor: TrainedAvatar, capture: Capture, predicted: Textures | None = None) -> dict[str, Scores]:
    """Scores by the name of their file.

    `cameras`: the cameras that are not trained on, of training frames (`frames`: held-out frames, where all cameras are
    trained on). `poses_own`, `poses_predicted`, `poses_mean`: the held-out motion through all cameras, wearing each
    kind of texture map that there is.
    """
    data, report = actor.config.data, actor.config.report
    training = capture.split(data.train_split)
    chosen = select(data, len(training.cameras), training.num_frames)
    held_out = [v for v in range(len(training.cameras)) if v not in chosen.train_views]
    small = training.cameras[0].fitted(report.size)
    size, rays = (small.height, small.width), report.supersample
    found = {}
    if held_out:
        frames = spaced(chosen.train_frames, report.frames)
        found["cameras"] = evaluate(actor, capture, data.train_split, frames, held_out, size, supersample=rays)
    elif chosen.trained_validation_views == ():
        frames, views = spaced(chosen.validation_frames, report.frames), chosen.validation_views
        found["frames"] = evaluate(actor, capture, data.train_split, frames, views, size, supersample=rays)
    if data.test_split in capture.splits:
        testing = capture.split(data.test_split)
        frames, cameras = spaced(range(testing.num_frames), report.frames), range(len(testing.cameras))
        for name, textures in _worn(actor, capture, testing, predicted).items():
            found[name] = evaluate(
                actor, capture, data.test_split, frames, cameras, size, textures=textures, supersample=rays
            )
    return found


def _worn(
    actor: TrainedAvatar, capture: Capture, testing: Split, predicted: Textures | None
) -> dict[str, Textures | MeanTexture | None]:
    """The texture maps to wear on novel poses, by the name of the scores' file; None: the split's own."""
    worn: dict[str, Textures | MeanTexture | None] = {"poses_own": None} if testing.has_textures else {}
    if predicted is not None:
        worn["poses_predicted"] = predicted
    return worn | {"poses_mean": MeanTexture.of(actor.config, capture)}


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
    path = orbit(split.cameras[0].fitted(report.film_size or report.size), center, count, up=up_of(split.cameras))
    motion = Motion(split, frames, predicted)
    views: tuple[View, ...] = ("color", "mesh", "depth", "normals")
    return render_sequence(
        actor, motion, path, out, views, side_by_side=True, overwrite=True, supersample=report.supersample
    )[-1]
