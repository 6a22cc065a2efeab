"""A film of the held-out motion as a camera saw it: photograph, the run's avatars, and the textured mesh, in a row."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import UInt8

from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose
from na_ray.capture.textures import TextureSource
from na_ray.checkpoint import TrainedAvatar, load_avatar
from na_ray.checkpoints import Checkpoints
from na_ray.config import AvatarName
from na_ray.config.selection import select
from na_ray.evaluation.evaluate import target_image
from na_ray.pictures import png
from na_ray.pictures.picture import sheet, to_uint8
from na_ray.render import (
    DrawBy,
    FrameTask,
    background_of,
    draw_here,
    encode,
    frame_facts,
    mesh_view,
    write_film,
)
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
    actors: Sequence[TrainedAvatar],
    capture: Capture,
    textures: TextureSource | None,
    out: Path,
    supersample: int,
    draw: DrawBy = draw_here,
) -> Path | None:
    """Write `out/comparison.mp4` and its middle frame, `out/comparison.png`; None where there is no held-out motion.

    `textures`: the maps to wear; None: the split's own. The camera is one that is not trained on, where there is one.
    Sizes are those of `report.film_size`; a pixel of every method is the mean of supersample x supersample rays.
    `draw`: who draws. Rows are kept in `out/.comparison` until the film is whole.
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
    rows, weights = out / ".comparison", png.digest(*(w for a in actors for w in a.model.state_dict().values()))
    marks = list[str]()

    def tasks() -> Iterator[FrameTask]:
        for i, frame in enumerate(frames):
            pose, texture = split.pose(frame), (textures or split).texture(frame)
            marks.append(png.digest(weights, *frame_facts(pose, camera), texture, np.array(supersample)))
            kept = (rows / f"{i:06d}.png").is_file() and png.png_mark(rows / f"{i:06d}.png") == marks[i]
            yield FrameTask(i, pose, camera, None if kept else texture)

    for i, drawn in enumerate(draw(RowDrawer(actors, supersample), tasks())):
        if drawn is not None:
            photograph = to_uint8(target_image(split, frames[i], number, camera, background_of(actors[0])))
            png.write_png(rows / f"{i:06d}.png", np.concatenate([photograph, drawn], axis=1), marks[i], fast=True)
    out.mkdir(parents=True, exist_ok=True)
    png.write_png(out / "comparison.png", png.read_png(rows / f"{len(frames) // 2:06d}.png"))
    film = write_film(out / "comparison.mp4", rows, len(frames), FPS, png.digest(*marks, str(FPS)))
    shutil.rmtree(rows)
    return film


@dataclass(frozen=True, eq=False)
class RowDrawer:
    """Draws a frame by each of some avatars, then the textured mesh."""

    actors: Sequence[TrainedAvatar]
    supersample: int

    @torch.no_grad()
    def draw(self, pose: Pose, texture: np.ndarray, camera: Camera) -> UInt8[np.ndarray, "h w 3"]:
        """The pictures from left to right."""
        found = [a.model.picture(encode(a, pose, texture), camera, self.supersample).colors for a in self.actors]
        first = self.actors[0]
        found.append(mesh_view(first, first.model.body.pose(pose), texture, camera, self.supersample))
        return sheet([to_uint8(colors) for colors in found], len(found))

    def on(self, device: str) -> "RowDrawer":
        """The same with its avatars on another kind of device."""
        return RowDrawer([actor.on(device) for actor in self.actors], self.supersample)
