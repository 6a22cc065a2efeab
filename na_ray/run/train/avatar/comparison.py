"""A film of the held-out motion as a camera saw it: photograph, the run's avatars, and the textured mesh, in a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose
from na_ray.capture.textures import TextureSource
from na_ray.capture.video import VideoWriter
from na_ray.checkpoint import TrainedAvatar, load_avatar
from na_ray.checkpoints import Checkpoints
from na_ray.config import AvatarName
from na_ray.config.selection import select
from na_ray.evaluation.evaluate import target_image
from na_ray.pictures.picture import sheet, to_uint8
from na_ray.pictures.png import write_png
from na_ray.render import background_of, encode, mesh_view
from na_ray.run.train.avatar.validation import spaced

MOST_FRAMES = 24
"""Of the film: a radiance field takes seconds for each."""
FPS = 10.0


def trained_before(root: Path, actor: TrainedAvatar, device: str) -> list[TrainedAvatar]:
    """The run's other avatars, by their best checkpoints."""
    names: Sequence[AvatarName] = get_args(AvatarName)
    best = [Checkpoints(root / name / "checkpoints", 1).best() for name in names if name != actor.name]
    return [load_avatar(folder, device) for folder in best if folder is not None]


def compare(
    actors: Sequence[TrainedAvatar], capture: Capture, textures: TextureSource | None, out: Path, supersample: int
) -> Path | None:
    """Write `out/comparison.mp4` and its middle frame, `out/comparison.png`; None where there is no held-out motion.

    `textures`: the maps to wear; None: the split's own. The camera is one that is not trained on, where there is one.
    Sizes are those of `report.film_size`; a pixel of every method is the mean of supersample x supersample rays.
    """
    config = actors[0].config
    if config.data.test_split not in capture.splits:
        return None
    split = capture.split(config.data.test_split)
    if textures is None and not split.has_textures:
        return None
    training = capture.split(config.data.train_split)
    trained = select(config.data, len(training.cameras), training.num_frames).train_views
    number = next((v for v in range(len(split.cameras)) if v not in trained), 0)
    camera = split.cameras[number].fitted(config.report.film_size or config.report.size)
    frames = spaced(range(split.num_frames), min(MOST_FRAMES, max(1, config.report.film_frames)))
    out.mkdir(parents=True, exist_ok=True)
    with VideoWriter(str(out / "comparison.mp4"), FPS, "h264") as film:
        for i, frame in enumerate(frames):
            pose, texture = split.pose(frame), (textures or split).texture(frame)
            pictures = [target_image(split, frame, number, camera, background_of(actors[0]))]
            pictures += [_picture(actor, pose, texture, camera, supersample) for actor in actors]
            posed = actors[0].model.body.pose(pose)
            pictures.append(mesh_view(actors[0], posed, texture, camera, supersample).cpu())
            row = sheet([to_uint8(p) for p in pictures], len(pictures))
            film.write(np.pad(row, ((0, row.shape[0] % 2), (0, row.shape[1] % 2), (0, 0)), mode="edge"))
            if i == len(frames) // 2:
                write_png(out / "comparison.png", row)
    return out / "comparison.mp4"


@torch.no_grad()
def _picture(actor: TrainedAvatar, pose: Pose, texture: np.ndarray, camera: Camera, supersample: int) -> torch.Tensor:
    return actor.model.picture(encode(actor, pose, texture), camera, supersample).colors.cpu()
