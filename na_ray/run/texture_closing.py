"""When the texture stage is over: predict the held-out motion, score it beside its baselines, and tell MLflow."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import resized
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import Predictor, load_predictor
from na_ray.config import parse_indices
from na_ray.picture import sheet, write_png
from na_ray.predict import predict_maps
from na_ray.run.folder import predicted_folder
from na_ray.run.tracking import Tracker
from na_ray.texture_metrics import TextureScores, score_textures


def close(checkpoint: Path, capture: Capture, folder: Path, tracker: Tracker) -> str:
    """Predict the texture maps of the held-out motion into the run's folder, score and film them, store scores and film
    in the stage's MLflow run, and return the table.

    The renderer's stage of the same run dresses the actor in them.
    """
    predictor = load_predictor(checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
    config = predictor.config
    if config.data.test_split not in capture.splits:
        return f"\n{capture.path} has no split {config.data.test_split!r}: no held-out motion to predict"
    split, training = capture.split(config.data.test_split), capture.split(config.data.train_split)
    if not split.has_normal_maps:
        return f"\n{split.files.folder} has no normal maps: na-ray prepare normals makes them from the poses"
    out = predicted_folder(folder.parent, split.name)
    shutil.rmtree(out, ignore_errors=True)  # of an earlier end of the same run
    told = f"predicted texture maps: {out}"
    if split.has_textures and config.report.frames:
        chosen = parse_indices(config.data.frames, training.num_frames)
        maps = _predict(predictor, split, out, folder / "film")
        scores = score_textures(maps, split, training, range(chosen[0], chosen[-1] + 1), predictor.body)
        scores.save(folder / "report" / "textures.json")
        tracker.files(folder / "report", "report")
        tracker.scores(_flat(scores), _step(checkpoint))
        told = f"Held-out motion, predicted texture maps\n{scores.table()}\n{told}"
    else:
        for _ in _predict(predictor, split, out, folder / "film"):
            pass
    tracker.files(folder / "film", "film")
    return f"\n{told}\nfilm: {folder / 'film'}"


def _predict(predictor: Predictor, split: Split, out: Path, film: Path) -> Iterator[np.ndarray]:
    """Predict all frames of a split, write them as `out/tex/NNNNNN.png` and to a film, and yield them."""
    size = predictor.config.vid2vid.resolution
    targets: Iterator[np.ndarray] | list[None] = split.textures() if split.has_textures else [None] * split.num_frames
    film.mkdir(parents=True, exist_ok=True)
    name = "normal_prediction_target.mp4" if split.has_textures else "normal_prediction.mp4"
    with VideoWriter(str(film / name), 25.0, "h264") as video:
        maps = zip(
            split.frames, split.normal_maps(), predict_maps(predictor, split.normal_maps()), targets, strict=True
        )
        for number, normal, prediction, target in maps:
            write_png(out / "tex" / f"{number:06d}.png", prediction)
            shown = [normal, prediction] if target is None else [normal, prediction, target]
            row = sheet([resized(image, size) for image in shown], columns=len(shown))
            video.write(row[: len(row) // 2 * 2, : row.shape[1] // 2 * 2])  # players want even sizes
            yield prediction


def _flat(scores: TextureScores) -> dict[str, float]:
    """`textures/predicted/psnr` and so on; what is missing is left out."""
    return {
        f"textures/{method.replace(' ', '_')}/{metric}": value
        for method, found in scores.scores.items()
        for metric, value in asdict(found).items()
        if value is not None
    }


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))
