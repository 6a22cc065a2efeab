"""Look at an avatar during training: render the validation views of a few frames, score them, keep the pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.distributed

from na_ray.capture.dataset import Split
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.selection import Selection
from na_ray.evaluation.evaluate import target_image
from na_ray.evaluation.image_metrics import psnr, ssim
from na_ray.pictures.picture import sheet, to_uint8
from na_ray.pictures.png import write_png
from na_ray.render import background_of, encode
from na_ray.run.train.run_folder import RunFolder


def validate(
    actor: TrainedAvatar, split: Split, chosen: Selection, step: int, run: RunFolder, rank: int, world: int
) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM over the pictures of `split` that decide, and, as `fit/...`, over those of `fit_views`.

    The workers share the rendering. Writes target and rendering side by side to `validation/step_NNNNNN/` and adds the
    scores to the run's record. Poses are those that training learned, where it does (`splats.refine_poses`).
    """
    folder = run.folder / "validation" / f"step_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    training = actor.model.training
    actor.model.eval()
    scores: dict[str, list[tuple[float, float]]] = {"validation": [], "fit": []}
    parts = {"validation": (chosen.validation_frames, chosen.validation_views)}
    parts["fit"] = (chosen.train_frames, chosen.fit_views)
    for name, (frames, views) in parts.items():
        for frame in spaced(frames, actor.config.train.validation_frames)[rank::world]:
            scores[name] += _look(actor, split, frame, views, folder)
    actor.model.train(training)
    gathered = [scores]
    if world > 1:
        gathered = [{} for _ in range(world)]
        torch.distributed.all_gather_object(gathered, scores)
    result: dict[str, float] = {}
    for name in parts:
        found = [pair for part in gathered for pair in part[name]]
        if found:
            mean = np.mean(found, axis=0)
            result |= {f"{name}/psnr": float(mean[0]), f"{name}/ssim": float(mean[1])}
    if rank == 0:
        run.append(step, result, pictures=str(folder.relative_to(run.root)))
    return result


def spaced(frames: range, wanted: int) -> list[int]:
    """So many of the frames, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(frames) - 1, min(wanted, len(frames))).round().astype(int)
    return [frames[i] for i in places.tolist()]


def _look(
    actor: TrainedAvatar, split: Split, frame: int, views: Sequence[int], folder: Path
) -> list[tuple[float, float]]:
    """PSNR and SSIM of a frame through each of the views; keeps the pictures."""
    if not views:
        return []
    encoded = encode(actor, split.pose(frame), split.texture(frame), split.frames[frame])
    scores = []
    for view in views:
        camera = split.cameras[view].fitted(actor.config.train.validation_size)
        target = target_image(split, frame, view, camera, background_of(actor))
        color = actor.model.picture(encoded, camera, actor.config.report.supersample).colors.cpu()
        scores.append((psnr(color, target), ssim(color, target)))
        pair = sheet([to_uint8(target), to_uint8(color)], columns=2)
        write_png(folder / f"frame_{frame:06d}_view_{view:03d}.png", pair)
    return scores
