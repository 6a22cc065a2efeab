"""Video shards to rows of pictures: the body's part of some views of a frame, at the training resolution.

The order is that of `frames`; a batch slot there is a frame here. Its pictures, `splats.views_per_frame` of them, are
the slots that workers share: a worker's rows show the views of its own slots.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from na_ray.body.atlas import Atlas, shrink_texture
from na_ray.body.body import Body
from na_ray.capture.camera import Camera
from na_ray.capture.image import over_background, resample_area
from na_ray.capture.pixels import posed_vertices
from na_ray.config import Experiment
from na_ray.pictures.box import Box, sphere_box
from na_ray.run.data.frames import FrameDataset, FrameSampler, Row, Shard

ROUNDED = 8
"""Sizes of pictures are rounded up to multiples of this, so that rows of like shape are frequent."""


@dataclass(frozen=True, eq=False)
class PictureDataset(FrameDataset):
    """What the splats' stage reads."""

    @property
    def views_per_row(self) -> int:
        """Pictures of a frame."""
        return self.experiment.splats.views_per_frame

    def rows(self, shard: Shard) -> Iterator[Row]:
        """Decode a shard and yield one row per frame.

        Rows hold `frame`, `views` (v,), `epoch`, `joints_RT` (J, 4, 4), `rotation`, `translation`, `joints`, `texture`
        (s, s, 3) uint8 at the atlas's side, `windows` (v, 4: left, top, width, height; px of the training resolution)
        and `pictures` (v, h, w, 3) uint8 over the background, padded to the largest window of the shard.
        """
        cameras = [picture_cameras(self)[v] for v in shard.views]
        poses = [self.split.pose(frame) for frame in range(shard.start, shard.stop)]
        points = [posed_vertices(self.rig, pose) for pose in poses]
        boxes = [[self._box(vertices, camera) for camera in cameras] for vertices in points]
        height = _rounded(max(b.bottom - b.top for row in boxes for b in row))
        width = _rounded(max(b.right - b.left for row in boxes for b in row))
        videos = [self.split.images(v, shard.start, shard.stop) for v in shard.views]
        textures = self.split.textures(shard.start, shard.stop)
        for i, (texture, *images) in enumerate(zip(textures, *videos, strict=True)):
            pictures = np.zeros((len(images), height, width, 3), np.uint8)
            for picture, camera, image, box in zip(pictures, cameras, images, boxes[i], strict=True):
                part = box.crop(small_picture(image, camera, self.experiment.data.background))
                picture[: part.shape[0], : part.shape[1]] = part
            pose = poses[i]
            yield {
                "frame": np.array(shard.start + i),
                "views": np.array(shard.views, np.int64),
                "joints_RT": pose.joints_RT,
                "rotation": pose.rotation,
                "translation": pose.translation.reshape(3),
                "joints": pose.joints,
                "texture": small_texture(self, texture),
                "windows": np.array([[b.left, b.top, b.right - b.left, b.bottom - b.top] for b in boxes[i]], np.int32),
                "pictures": pictures,
            }

    def _box(self, vertices: np.ndarray, camera: Camera) -> Box:
        """The body's box in a picture; the whole picture where the body is not in it."""
        found = sphere_box(vertices, camera, self.experiment.splats.reach)
        return found or Box(0, 0, camera.height, camera.width)

    def row_bytes(self) -> int:
        """Bytes of one row at most, for the bound on memory: whole pictures."""
        seen = (picture_cameras(self)[v] for v in self.views)
        # A row's pictures are padded to the largest of them, along either side.
        heights, widths = zip(*((_rounded(camera.height), _rounded(camera.width)) for camera in seen), strict=True)
        picture = 3 * max(heights) * max(widths)
        return self.views_per_row * picture + 3 * self.experiment.splats.side**2 + 8192


@dataclass(frozen=True)
class PictureSampler:
    """The shuffle groups of some slots (pictures of a step) from a step on.

    Slot s shows view s // f of frame s % f, where f is the number of frames in a step: so few frames as can be are
    shared by several workers.
    """

    dataset: PictureDataset
    pictures: tuple[int, ...]
    """This worker's slots."""
    num_pictures: int
    first_step: int

    @property
    def num_frames(self) -> int:
        """Frames in a step, over all workers."""
        return self.num_pictures // self.dataset.views_per_row

    @property
    def slots(self) -> tuple[int, ...]:
        """The frames of a step that this worker has pictures of."""
        return tuple(sorted({s % self.num_frames for s in self.pictures}))

    def shuffle_groups(self) -> Iterator[tuple[int, int, int, tuple[Shard, ...]]]:
        """(batch slot, number of the group, rows to drop at its start, shards), in the order of need."""
        shown = {f: [s // self.num_frames for s in self.pictures if s % self.num_frames == f] for f in self.slots}
        sampler = FrameSampler(self.dataset, self.slots, self.num_frames, self.first_step)
        for slot, number, drop, shards in sampler.shuffle_groups():
            mine = (replace(shard, views=tuple(shard.views[i] for i in shown[slot])) for shard in shards)
            yield slot, number, drop, tuple(mine)


def num_pictures(experiment: Experiment) -> int:
    """Batch slots of the stage."""
    return experiment.splats.global_batch


def small_picture(image: np.ndarray, camera: Camera, background: tuple[float, float, float]) -> np.ndarray:
    """A picture (H, W, 3 or 4) uint8 at the size of a camera, over the background (RGB in [-1, 1]); uint8."""
    size = (camera.height, camera.width)
    if image.shape[:2] == size and image.shape[2] == 3:
        return image
    values = image if image.shape[:2] == size else resample_area(image, *size)
    colors, _ = over_background(values.reshape(-1, values.shape[2]), background)
    return ((colors + 1) * 127.5).round().clip(0, 255).astype(np.uint8).reshape(*size, 3)


def small_texture(dataset: PictureDataset, texture: np.ndarray) -> np.ndarray:
    """A texture map (h, w, 3) uint8 at the atlas's side, averaged within the charts."""
    side = dataset.experiment.splats.side
    values = torch.from_numpy(np.ascontiguousarray(texture)).permute(2, 0, 1).float()
    small = shrink_texture(values, _inside(dataset, texture.shape[0], texture.shape[1]), side)
    return small.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()


@functools.lru_cache(maxsize=8)
def _inside(dataset: PictureDataset, height: int, width: int) -> torch.Tensor:
    inside = Atlas(Body.from_rig(dataset.rig), max(height, width)).inside[None, None].float()
    return torch.nn.functional.interpolate(inside, (height, width))[0, 0] > 0


@functools.lru_cache(maxsize=8)
def picture_cameras(dataset: PictureDataset) -> tuple[Camera, ...]:
    """The split's cameras at the training resolution; pictures only ever shrink."""
    return tuple(camera.fitted(dataset.experiment.splats.size) for camera in dataset.split.cameras)


def _rounded(size: int) -> int:
    return -(-size // ROUNDED) * ROUNDED
