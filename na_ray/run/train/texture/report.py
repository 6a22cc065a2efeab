"""When the texture stage is over: predict the held-out motion, score it beside its baselines, and log all of it."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import Map, resized
from na_ray.capture.textures import Textures
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import Predictor, load_predictor
from na_ray.config import Experiment
from na_ray.config.selection import SequenceSelection, select_sequences
from na_ray.config.values import UserError
from na_ray.evaluation.protocol import maps_made_from
from na_ray.evaluation.texture_metrics import (
    FrameMeasures,
    TextureExam,
    TextureScores,
    find_inception,
    judged,
    nearest_of,
)
from na_ray.motion.predict import Request, normal_maps, predictor_identity
from na_ray.motion.textures import MeanTexture
from na_ray.pictures.picture import sheet
from na_ray.run.inference import MotionTask, predicting
from na_ray.run.train.closing import Closing, forget
from na_ray.run.train.run_folder import predicted_folder

SLICE = 16
"""Frames that are scored as one piece of work."""


def close(closing: Closing, capture: Capture) -> str:
    """Predict the texture maps of the held-out motion into the run's folder, score and film them, store scores and film
    in the stage's MLflow run, and return the table.

    The stages of the same run's avatars draw them with these maps.
    """
    folder = closing.folder
    predictor = load_predictor(closing.checkpoint, closing.hands.home)
    config = predictor.config
    if config.data.test_split not in capture.splits:
        closing.begin()
        return f"\n{capture.path} has no split {config.data.test_split!r}: no held-out motion to predict"
    split, training = capture.split(config.data.test_split), capture.split(config.data.train_split)
    out = predicted_folder(folder.parent, split.name)
    identity = predictor_identity(predictor), str(config), capture.path
    closing.begin(*identity, stale=(out, folder / "film"))  # what an earlier end of the same run left
    mean = _predict(closing, predictor, MotionTask(str(capture.path), split.name, out))
    textures = Textures.open(out, split, range(split.num_frames))
    chosen = select_sequences(config.data, config.texture, len(training.camera_files), training.num_frames)
    scored = split.has_textures and config.report.frames > 0
    network, notes = find_inception(predictor.body) if scored else (None, [])
    nearest = nearest_of(split, training, chosen.train_frames) if scored else []
    exam = TextureExam(split, training, predictor.body, mean, nearest, network)
    slices = [range(i, min(i + SLICE, split.num_frames)) for i in range(0, split.num_frames, SLICE)] if scored else []
    film, *parts = closing.pieces("judged", judging, (predictor, textures, exam, folder / "film"), [None, *slices])
    lines = [f"predicted texture maps: {out}", f"film: {film}"]
    if scored:
        scores = judged(exam, [_measures(frame) for part in parts for frame in part], notes)
        scores.save(folder / "report" / "textures.json")
        closing.log_scores("textures", _flat(scores))
        part = (
            f"trained on: none of these frames\nchose the checkpoint: {_chosen_by(chosen, config, split)}\n"
            f"target maps: {maps_made_from(capture)}"
        )
        lines = [f"Novel poses, predicted texture maps\n{scores.table()}\n{part}", *lines]
    closing.log_files(("film", "report"))
    return "\n" + "\n".join(lines)


def _predict(closing: Closing, predictor: Predictor, task: MotionTask) -> Map:
    """Predict the motion, and average the training's maps meanwhile. Returns their mean at the predictions' size."""
    pieces = [task, None]
    result, means = closing.pieces("maps", preparing, (predictor, Capture.open(task.capture)), pieces)
    if "error" in result:
        forget(closing.folder)
        raise UserError(result["error"])
    closing.mean = means["actor"].numpy()
    return means["small"].numpy()


def preparing(shared: tuple[Predictor, Capture], device: str) -> Callable[[MotionTask | None], dict[str, Any]]:
    """What predicts a motion, or averages the training's maps (None), on a worker."""
    predictor, capture = shared
    predict, config = predicting((predictor, Request()), device), predictor.config
    training = capture.split(config.data.train_split)

    def work(task: MotionTask | None) -> dict[str, Any]:
        if task is not None:
            found = predict(task)
            return {"error": found} if isinstance(found, str) else {"place": str(found)}
        chosen = select_sequences(config.data, config.texture, len(training.camera_files), training.num_frames)
        mean, small = MeanTexture.beside(config, capture, chosen.train_frames, config.vid2vid.resolution)
        return {"actor": torch.from_numpy(mean.map), "small": torch.from_numpy(small)}

    return work


def judging(
    shared: tuple[Predictor, Textures, TextureExam, Path], device: str
) -> Callable[[range | None], list[Any] | str]:
    """What scores some frames, or films all of them (None), on a worker. Features travel as tensors."""
    predictor, textures, exam, folder = shared
    exam = exam.on(device)

    def work(positions: range | None) -> list[Any] | str:
        if positions is None:
            return str(_film(predictor, exam.split, textures, folder))
        frames = exam.measure(textures, positions)
        return [(_tensor(target), [(*rest, _tensor(f)) for *rest, f in methods]) for target, methods in frames]

    return work


def _tensor(features: np.ndarray | None) -> torch.Tensor | None:
    return None if features is None else torch.from_numpy(features)


def _measures(kept: Any) -> FrameMeasures:
    """A frame's, as `judging` gave it."""
    target, methods = kept
    measured = [(tuple(scores), changes, None if f is None else f.numpy()) for scores, changes, f in methods]
    return None if target is None else target.numpy(), measured


def _chosen_by(chosen: SequenceSelection, config: Experiment, scored: Split) -> str:
    """Whether the scored frames decided which checkpoint is the best, in words."""
    most, frames = config.texture.validation_frames, chosen.validation_frames
    if frames is None:
        return f"the first {min(most, scored.num_frames)} of these {scored.num_frames} frames"
    kind = "trained" if chosen.warning else "held-out"
    return f"none of these frames, but {min(most, len(frames))} {kind} frames of {config.data.train_split}"


def _film(predictor: Predictor, split: Split, textures: Textures, folder: Path) -> Path:
    """Normal map, prediction and, where there is one, target of every frame, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("normal_prediction_target.mp4" if split.has_textures else "normal_prediction.mp4")
    size, frames = predictor.config.vid2vid.resolution, range(split.num_frames)
    targets: Iterable[np.ndarray | None] = split.textures() if split.has_textures else [None] * len(frames)
    body = predictor.body.to(device="cpu")
    with VideoWriter(path, 25.0, "h264") as video:
        for i, normal, target in zip(frames, normal_maps(split, frames, body, Request()), targets, strict=True):
            shown = [normal, textures.texture(i), *([] if target is None else [target])]
            row = sheet([resized(image, size) for image in shown], columns=len(shown))
            video.write(row[: len(row) // 2 * 2, : row.shape[1] // 2 * 2])  # players want even sizes
    return path


def _flat(scores: TextureScores) -> dict[str, float]:
    """`textures/predicted/psnr` and so on; what is missing is left out."""
    return {
        f"textures/{method.replace(' ', '_')}/{metric}": value
        for method, found in scores.scores.items()
        for metric, value in asdict(found).items()
        if value is not None
    }
