"""Video shards to training batches: the order, the decoding, and Ray Data around them.

The order is one endless sequence of *shuffle groups* that depends on the seed alone. A shuffle group is a few shards
whose frames are mixed. An optimiser step takes one row (a frame, some of its views) from each of L *batch slots*; slot
l is fed by the groups l, l + L, l + 2L, ... Workers share the slots among them. So which rows make up step s depends on
(seed, L, s) and not on the number of workers, and a resumed run continues at its step without reading what came before.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from na_ray.capture import video
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import over_background, resample_area, shrink_map
from na_ray.capture.pixels import draw_pixels, map_size, near_body, posed_vertices, thin_out
from na_ray.capture.rig import Pose, Rig
from na_ray.config import Experiment
from na_ray.config.selection import Selection, select
from na_ray.config.values import StorageError, UserError

# The coarse test draws pixels that may miss the shell: this many more than needed are sent, the exact test chooses.
SPARE_RAYS = 1.3
# Views of frames whose tiles a decoding process remembers.
MOST_NEAR = 8192

Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class Shard:
    """A range of frames of one or several cameras, read in lockstep with the texture video."""

    start: int
    stop: int
    views: tuple[int, ...]
    epoch: int


@dataclass(frozen=True, eq=False)
class FrameDataset:
    """What to read, in which order. Cheap to send to a worker: paths, small arrays and numbers."""

    split: Split
    rig: Rig
    experiment: Experiment
    views: tuple[int, ...]
    frames: tuple[int, ...]

    @classmethod
    def make(cls, capture: Capture, experiment: Experiment) -> "FrameDataset":
        """Read the selections of `experiment.data`. Raises UserError for views or frames that do not exist."""
        data = experiment.data
        split = capture.split(data.train_split)
        chosen = select(data, len(split.cameras), split.num_frames)
        return cls(split, capture.rig, experiment, chosen.train_views, tuple(chosen.train_frames))

    @property
    def selection(self) -> Selection:
        """What is trained on, what decides, and what is looked at as the fit."""
        return select(self.experiment.data, len(self.split.cameras), self.split.num_frames)

    @property
    def where(self) -> str:
        """Folder of the split, for messages."""
        return self.split.files.folder

    def decode(self, shard: Shard) -> list[Row]:
        """All rows of a shard (`decode_shard`); none for a bad one that the experiment lets pass."""
        try:
            return list(self.rows(shard))
        except StorageError:
            raise  # no fault of the shard
        except (UserError, OSError):
            if self.experiment.data.on_bad_shard == "fail":
                raise
            return []

    def rows(self, shard: Shard) -> Iterator[Row]:
        """The rows of a shard, one a frame."""
        return decode_shard(self, shard)

    @property
    def views_per_row(self) -> int:
        """Views that a row shows of its frame."""
        return self.experiment.data.views_per_frame

    def prefetch(self, shard: Shard) -> None:
        """Begin to fetch a shard's packets, where the capture lies behind a URL."""
        for path in (self.split.texture_video, *(self.split.video(v) for v in shard.views)):
            if path is not None:
                video.prefetch(path, shard.start, shard.stop)

    def shards(self, epoch: int) -> list[Shard]:
        """All shards of an epoch, in its order: every (frame, view) of the training set is in exactly one."""
        data = self.experiment.data
        rng = np.random.default_rng([self.experiment.train.seed, epoch])
        first, last = self.frames[0], self.frames[-1] + 1
        # A new offset every epoch, so that the same frames are not always neighbours.
        offset = first - int(rng.integers(data.shard_frames)) if last - first > data.shard_frames else first
        shards = []
        for start in range(offset, last, data.shard_frames):
            views = rng.permutation(self.views)
            for v in range(0, len(views), self.views_per_row):
                group = np.resize(views[v : v + self.views_per_row], self.views_per_row)
                stop = min(start + data.shard_frames, last)
                shards.append(Shard(max(start, first), stop, tuple(int(i) for i in group), epoch))
        return [shards[i] for i in rng.permutation(len(shards))]

    def shuffle_groups(self) -> Iterator[tuple[Shard, ...]]:
        """The endless sequence of shuffle groups: `shuffle_shards` shards each, epochs joined end to end."""
        size = self.experiment.data.shuffle_shards
        pending: list[Shard] = []
        epoch = 0
        while True:
            pending += self.shards(epoch)
            while len(pending) >= size:
                yield tuple(pending[:size])
                del pending[:size]
            epoch += 1

    def row_bytes(self) -> int:
        """Bytes of one row, for the bound on memory: the texture map dominates."""
        data = self.experiment.data
        height, width = self.split.texture(0).shape[:2]
        small = map_size(height, width, self.experiment.texture_side)
        texture = 3 * small[0] * small[1] * (1 if small == (height, width) else 4)  # resized maps are float32
        rays = math.ceil(SPARE_RAYS * data.rays_per_view) * data.views_per_frame * 9 * 4
        return texture + rays + 4096

    def shard_bytes(self) -> int:
        """Bytes of the rows of a whole shard."""
        return self.experiment.data.shard_frames * self.row_bytes()

    def room(self, num_slots: int) -> tuple[int, int]:
        """Bytes of a worker's shuffle groups, one a batch slot, and what `data.memory_mb` leaves to decode.

        Raises UserError when that is less than two shards.
        """
        data = self.experiment.data
        shard = self.shard_bytes()
        groups = num_slots * data.shuffle_shards * shard
        left = data.memory_mb * 2**20 - groups
        if left < 2 * shard:
            raise UserError(
                f"data.memory_mb is {data.memory_mb}: {num_slots} shuffle groups of {data.shuffle_shards} shards "
                f"take {groups / 2**20:.0f} MB and decoding {2 * shard / 2**20:.0f} MB; raise it or lower "
                "data.shard_frames"
            )
        return groups, left


@dataclass(frozen=True)
class FrameSampler:
    """The shuffle groups of some batch slots from a step on, for a `StepLoader` to read."""

    dataset: FrameDataset
    slots: tuple[int, ...]
    num_slots: int
    first_step: int

    def shuffle_groups(self) -> Iterator[tuple[int, int, int, tuple[Shard, ...]]]:
        """(batch slot, number of the group, rows to drop at its start, shards), in the order of need."""
        consumed = dict.fromkeys(self.slots, 0)
        for number, shards in enumerate(self.dataset.shuffle_groups()):
            slot = number % self.num_slots
            if slot not in consumed:
                continue
            rows = sum(s.stop - s.start for s in shards)
            drop = min(rows, max(0, self.first_step - consumed[slot]))
            consumed[slot] += rows
            if drop < rows:
                yield slot, number, drop, shards


def pick(image: np.ndarray, xy: np.ndarray, camera: Camera, background: tuple[float, float, float]) -> np.ndarray:
    """Colors (n, 3) in [-1, 1] over the background at the pixels `xy` of an image (H, W, 3 or 4) uint8.

    Area resampling first, then the range, then the background (parity page 2.9).
    """
    if image.shape[:2] != (camera.height, camera.width):
        image = resample_area(image, camera.height, camera.width)
    colors, _ = over_background(image[xy[:, 1], xy[:, 0]], background)
    return colors


@functools.lru_cache(maxsize=MOST_NEAR)
def _near(dataset: FrameDataset, frame: int, view: int) -> tuple[np.ndarray, int]:
    """The tiles of a view to draw from: the same in every epoch, and 2 KB, so they are kept, 16 MB of them."""
    points, reach = _points(dataset, frame)
    near, tile = near_body(points, _cameras(dataset)[view], reach)
    return np.argwhere(near).astype(np.uint16), tile


@functools.lru_cache(maxsize=4096)
def _pose(dataset: FrameDataset, frame: int) -> Pose:
    return dataset.split.pose(frame)


@functools.lru_cache(maxsize=64)
def _points(dataset: FrameDataset, frame: int) -> tuple[np.ndarray, float]:
    vertices = posed_vertices(dataset.rig, _pose(dataset, frame))
    return thin_out(vertices, dataset.experiment.nerf.shell_radius)


@functools.lru_cache(maxsize=8)
def _cameras(dataset: FrameDataset) -> tuple[Camera, ...]:
    """The split's cameras at the training resolution; larger pictures only ever shrink."""
    resolution = dataset.experiment.data.resolution
    parity = dataset.experiment.nerf.parity
    return tuple(
        c.resized(*resolution, parity=parity) if resolution and resolution[0] < c.height else c
        for c in dataset.split.cameras
    )


def decode_shard(dataset: FrameDataset, shard: Shard) -> Iterator[Row]:
    """Decode a shard and yield one row per frame: the pose, the texture map and the drawn rays with their colors.

    Rows hold `frame`, `views` (v,), `joints_RT` (J, 4, 4), `rotation`, `translation`, `joints`, `texture` (h, w, 3) of
    0..255 and, for r drawn rays a view, `origins` and `directions` (v, r, 3) in m, `colors` (v, r, 3), float32.
    """
    data, cfg = dataset.experiment.data, dataset.experiment.nerf
    cameras = [_cameras(dataset)[v] for v in shard.views]
    count = math.ceil(SPARE_RAYS * data.rays_per_view)
    videos = [dataset.split.images(v, shard.start, shard.stop) for v in shard.views]
    textures = dataset.split.textures(shard.start, shard.stop)
    for frame, texture, *images in zip(range(shard.start, shard.stop), textures, *videos, strict=True):
        pose = _pose(dataset, frame)
        rays = []
        for view, camera, image in zip(shard.views, cameras, images, strict=True):
            rng = np.random.default_rng([dataset.experiment.train.seed, shard.epoch, frame, view])
            xy = draw_pixels(rng, *_near(dataset, frame, view), camera.height, camera.width, count)
            # Drawn after the pixels, which are the same with and without it.
            within = rng.random(xy.shape) - 0.5 if data.pixel_jitter and not cfg.parity else 0.0
            rays.append((*camera.rays(xy + within), pick(image, xy, camera, data.background)))
        origins, directions, colors = (np.stack(r).astype(np.float32) for r in zip(*rays, strict=True))
        yield {
            "frame": np.array(frame),
            "views": np.array(shard.views, np.int64),
            "joints_RT": pose.joints_RT,
            "rotation": pose.rotation,
            "translation": pose.translation.reshape(3),
            "joints": pose.joints,
            "texture": shrink_map(texture, dataset.experiment.texture_side),
            "origins": origins,
            "directions": directions,
            "colors": colors,
        }
