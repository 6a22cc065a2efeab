"""Look at the texture predictor during training: predict a motion, score it, keep pictures and a film."""

from dataclasses import asdict

import numpy as np
import torch.distributed

from na_ray.body.atlas import Atlas
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import resized
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import Predictor
from na_ray.evaluation.texture_metrics import Tally
from na_ray.motion.predict import predict_maps
from na_ray.pictures.picture import sheet
from na_ray.pictures.png import write_png
from na_ray.run.data.sequences import SequenceDataset
from na_ray.run.train.run_folder import RunFolder

# Frames whose pictures are kept beside the film.
PICTURES = 4


def validate(
    predictor: Predictor, dataset: SequenceDataset, step: int, run: RunFolder, rank: int, world: int
) -> dict[str, float]:
    """Scores within the charts (`texture_metrics.MapScores`) of the first frames that decide.

    A frame is predicted from the one before: the first worker does all of it. It writes normal map, prediction and
    target side by side to `validation/step_NNNNNN/`, and adds the scores to the run's record.
    """
    found: list[dict[str, float] | None] = [None]
    if rank == 0:
        found = [_scores(predictor, dataset, step, run)]
    if world > 1:
        torch.distributed.broadcast_object_list(found)
    assert found[0] is not None
    return found[0]


def deciding(dataset: SequenceDataset) -> tuple[Split, range]:
    """A split, and positions in it: the frames by which the best checkpoint is chosen."""
    experiment, split, frames = dataset.experiment, dataset.split, dataset.selection.validation_frames
    if frames is None:  # as version 0.1 did
        capture = Capture.open(experiment.capture)
        if experiment.data.test_split in capture.splits:
            split = capture.split(experiment.data.test_split)
        frames = range(split.num_frames)
    return split, frames[: experiment.texture.validation_frames]


def _scores(predictor: Predictor, dataset: SequenceDataset, step: int, run: RunFolder) -> dict[str, float]:
    split, frames = deciding(dataset)
    size = predictor.config.vid2vid.resolution
    folder = run.folder / "validation" / f"step_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    tally = Tally(Atlas(predictor.body, size[0]).inside)
    kept = set(np.linspace(0, len(frames) - 1, PICTURES).round().astype(int).tolist())
    normals = (resized(normal, size) for normal in split.normal_maps(frames.start, frames.stop))
    with VideoWriter(str(folder / "normal_prediction_target.mp4"), 25.0, "h264") as film:
        targets = zip(
            split.normal_maps(frames.start, frames.stop), split.textures(frames.start, frames.stop), strict=True
        )
        predictions = predict_maps(predictor, normals)
        for i, (prediction, (normal, target)) in enumerate(zip(predictions, targets, strict=True)):
            target = resized(target, size)
            tally.add(prediction, target)
            row = sheet([resized(normal, size), prediction, target], columns=3)
            film.write(row[: len(row) // 2 * 2, : row.shape[1] // 2 * 2])  # players want even sizes
            if i in kept:
                write_png(folder / f"frame_{split.frames[frames[i]]:06d}.png", row)
    result = {f"validation/{name}": value for name, value in asdict(tally.scores()).items() if value is not None}
    run.append(step, result, pictures=str(folder.relative_to(run.root)))
    return result
