"""When an avatar's training is over: score the best checkpoint on what it never saw, film it, and tell MLflow."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from na_ray.capture.dataset import Capture
from na_ray.capture.textures import Textures
from na_ray.capture.trajectory import body_center, orbit, up_of
from na_ray.checkpoint import TrainedAvatar, load_avatar
from na_ray.config import AvatarName, Experiment
from na_ray.config.selection import select
from na_ray.evaluation.evaluate import Exam, find_lpips, gathered, score_frames
from na_ray.evaluation.image_metrics import Lpips
from na_ray.evaluation.scores import ImageScore, Scores
from na_ray.motion.textures import MeanTexture
from na_ray.pictures import png
from na_ray.render import Motion, View, render_sequence
from na_ray.run.train.avatar.comparison import compare, trained_before
from na_ray.run.train.avatar.validation import spaced
from na_ray.run.train.closing import Closing
from na_ray.run.train.run_folder import predicted_folder


def close(closing: Closing, capture: Capture) -> str:
    """Write scores and a film below the stage's folder, store all of it in its MLflow run, and return the tables.

    Where the run's texture stage has predicted texture maps for the held-out motion, the films are dressed in them. Of
    several avatars the last one's stage makes the films: an orbit of its own, and a row of all of them.
    """
    folder, device = closing.folder, closing.hands.home
    actor = load_avatar(closing.checkpoint, device)
    config = actor.config
    predicted = predicted_textures(folder.parent, capture, config)
    closing.begin(*actor.model.state_dict().values(), str(config), capture.path, _mark_of(predicted))
    worn = _mean_texture(closing, actor, capture)
    sections = []
    if config.report.frames:
        for name, scores in score(closing, actor, capture, worn, predicted).items():
            scores.save(folder / "report" / f"{name}.json")
            sections.append(scores.table())
            closing.log_scores(name, _flat(name, scores))
    if config.report.film_frames and actor.name == _last_avatar(config):
        sections.append(f"film: {film(closing, actor, capture, predicted)}")
        others = trained_before(folder.parent, actor, device)
        # A radiance field would take a minute a second at more rays.
        rays = 1 if others or actor.name == "nerf" else config.report.supersample
        beside = compare([actor, *others], capture, predicted, folder / "film", rays, closing.draw)
        methods = ", ".join(a.name for a in (actor, *others))
        sections.append(f"photograph, {methods}, textured mesh: {beside}" if beside else "")
    closing.log_files(("report", "film"))
    return "\n" + "\n\n".join(section for section in sections if section)


def _mark_of(predicted: Textures | None) -> str:
    """What predicted maps are: the last one's mark, which all before it decide."""
    return png.png_mark(Path(predicted.files[max(predicted.files)])) if predicted and predicted.files else ""


def _mean_texture(closing: Closing, actor: TrainedAvatar, capture: Capture) -> MeanTexture | None:
    """The mean of the training's maps, read once for the scores and the actor's folder."""
    if not capture.split(actor.config.data.train_split).has_textures:
        return None
    (found,) = closing.pieces("mean", averaging, (actor.config, capture), [None])
    closing.mean = found["map"].numpy()
    return MeanTexture(found["source"], closing.mean)


def averaging(shared: tuple[Experiment, Capture], device: str) -> Callable[[None], dict[str, Any]]:
    """What makes the mean texture map, on a worker."""

    def average(_: None) -> dict[str, Any]:
        mean = MeanTexture.of(*shared)
        return {"source": mean.source, "map": torch.from_numpy(mean.map)}

    return average


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


def score(
    closing: Closing,
    actor: TrainedAvatar,
    capture: Capture,
    mean: MeanTexture | None,
    predicted: Textures | None = None,
) -> dict[str, Scores]:
    """Scores by the name of their file (`exams`), a frame of each a piece of work."""
    asked = exams(actor, capture, mean, predicted)
    lpips, missing = find_lpips()
    places = [(name, frame) for name, exam in asked.items() for frame in exam.frames]
    results = closing.pieces("scores", scoring, (actor, asked, lpips), places)
    found = {}
    for name, exam in asked.items():
        parts = [part for (of, _), part in zip(places, results, strict=True) if of == name]
        images = [ImageScore(**values) for part in parts for values in part["images"]]
        found[name] = gathered(actor, exam, images, sum(part["diverged"] for part in parts), missing)
    return found


def scoring(
    shared: tuple[TrainedAvatar, dict[str, Exam], Lpips | None], device: str
) -> Callable[[tuple[str, int]], dict[str, Any]]:
    """What scores a frame of an exam, on a worker."""
    actor, asked, lpips = shared[0].on(device), shared[1], shared[2]

    def score_one(place: tuple[str, int]) -> dict[str, Any]:
        images, diverged = score_frames(actor, asked[place[0]], [place[1]], lpips)
        return {"images": [asdict(image) for image in images], "diverged": diverged}

    return score_one


def exams(
    actor: TrainedAvatar, capture: Capture, mean: MeanTexture | None, predicted: Textures | None
) -> dict[str, Exam]:
    """What is scored, by the name of its file.

    `cameras`: the cameras that are not trained on, of training frames (`frames`: held-out frames, where all cameras are
    trained on); `cameras_refined`: the same in the poses that training learned, where it did. `poses_own`,
    `poses_predicted`, `poses_mean`: the held-out motion through all cameras, wearing each kind of texture map that
    there is.
    """
    data, report = actor.config.data, actor.config.report
    training = capture.split(data.train_split)
    chosen = select(data, len(training.cameras), training.num_frames)
    held_out = [v for v in range(len(training.cameras)) if v not in chosen.train_views]
    small = training.cameras[0].fitted(report.size)
    how: dict[str, Any] = {"resolution": (small.height, small.width), "supersample": report.supersample}
    found = {}
    if held_out:
        frames = spaced(chosen.train_frames, report.frames)
        found["cameras"] = Exam(capture, data.train_split, frames, held_out, **how)
        if actor.model.refines_poses:
            found["cameras_refined"] = Exam(capture, data.train_split, frames, held_out, **how, refined=True)
    elif chosen.trained_validation_views == ():
        frames = spaced(chosen.validation_frames, report.frames)
        found["frames"] = Exam(capture, data.train_split, frames, chosen.validation_views, **how)
    if data.test_split in capture.splits:
        testing = capture.split(data.test_split)
        frames, cameras = spaced(range(testing.num_frames), report.frames), range(len(testing.cameras))
        worn: dict[str, Textures | MeanTexture | None] = {"poses_own": None} if testing.has_textures else {}
        worn |= {"poses_predicted": predicted} if predicted is not None else {}
        worn |= {"poses_mean": mean} if mean is not None else {}
        for name, textures in worn.items():
            found[name] = Exam(capture, data.test_split, frames, cameras, textures=textures, **how)
    return found


def _flat(name: str, scores: Scores) -> dict[str, float]:
    """`cameras/nerf/box/psnr` and so on; what is missing is left out."""
    return {
        f"{name}/{method}/{crop}/{metric}": value
        for method, crops in scores.summary().items()
        for crop, values in crops.items()
        for metric, value in values.items()
        if value is not None
    }


def film(closing: Closing, actor: TrainedAvatar, capture: Capture, predicted: Textures | None = None) -> Path:
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
    out, rays = closing.folder / "film", report.supersample
    return render_sequence(
        actor, motion, path, out, views, side_by_side=True, supersample=rays, draw=closing.draw, replace=True
    )[-1]
