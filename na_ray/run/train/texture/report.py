"""When the texture stage is over: predict the held-out motion, score it beside its baselines, and log all of it."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import resized
from na_ray.capture.textures import Textures
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import Predictor, load_predictor
from na_ray.config import Experiment
from na_ray.config.selection import SequenceSelection, select_sequences
from na_ray.evaluation.protocol import maps_made_from
from na_ray.evaluation.texture_metrics import TextureScores, score_textures
from na_ray.motion.predict import Request, normal_maps, predict_sequence
from na_ray.pictures.picture import sheet
from na_ray.run.tracking.runs import Tracker
from na_ray.run.train.run_folder import predicted_folder


def close(checkpoint: Path, capture: Capture, folder: Path, tracker: Tracker) -> str:
    """Predict the texture maps of the held-out motion into the run's folder, score and film them, store scores and film
    in the stage's MLflow run, and return the table.

    The stages of the same run's avatars draw them with these maps.
    """
    predictor = load_predictor(checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
    config = predictor.config
    if config.data.test_split not in capture.splits:
        return f"\n{capture.path} has no split {config.data.test_split!r}: no held-out motion to predict"
    split, training = capture.split(config.data.test_split), capture.split(config.data.train_split)
    request = Request(overwrite=True)  # what an earlier end of the same run left
    out = predicted_folder(folder.parent, split.name)
    predict_sequence(predictor, split, out, request)
    textures = Textures.open(out, split, range(split.num_frames))
    lines = [f"predicted texture maps: {out}", f"film: {_film(predictor, split, textures, folder / 'film', request)}"]
    tracker.files(folder / "film", "film")
    if split.has_textures and config.report.frames:
        chosen = select_sequences(config.data, config.texture, len(training.camera_files), training.num_frames)
        maps = (textures.texture(i) for i in range(split.num_frames))
        scores = score_textures(maps, split, training, chosen.train_frames, predictor.body)
        scores.save(folder / "report" / "textures.json")
        tracker.files(folder / "report", "report")
        tracker.scores(_flat(scores), int(checkpoint.name.removeprefix("step_")))
        part = (
            f"trained on: none of these frames\nchose the checkpoint: {_chosen_by(chosen, config, split)}\n"
            f"target maps: {maps_made_from(capture)}"
        )
        lines = [f"Novel poses, predicted texture maps\n{scores.table()}\n{part}", *lines]
    return "\n" + "\n".join(lines)


def _chosen_by(chosen: SequenceSelection, config: Experiment, scored: Split) -> str:
    """Whether the scored frames decided which checkpoint is the best, in words."""
    most, frames = config.texture.validation_frames, chosen.validation_frames
    if frames is None:
        return f"the first {min(most, scored.num_frames)} of these {scored.num_frames} frames"
    kind = "trained" if chosen.warning else "held-out"
    return f"none of these frames, but {min(most, len(frames))} {kind} frames of {config.data.train_split}"


def _film(predictor: Predictor, split: Split, textures: Textures, folder: Path, request: Request) -> Path:
    """Normal map, prediction and, where there is one, target of every frame, side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("normal_prediction_target.mp4" if split.has_textures else "normal_prediction.mp4")
    size, frames = predictor.config.vid2vid.resolution, range(split.num_frames)
    targets: Iterable[np.ndarray | None] = split.textures() if split.has_textures else [None] * len(frames)
    with VideoWriter(path, 25.0, "h264") as video:
        for i, normal, target in zip(frames, normal_maps(split, frames, predictor.body, request), targets, strict=True):
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
