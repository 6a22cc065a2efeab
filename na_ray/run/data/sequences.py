"""Windows of the texture predictor's training: their schedule, their endless order, and their decoding.

A window is T consecutive frames of normal and texture maps. A step takes one for each of L *batch slots*, which the
workers share. Which frames it holds and how they are cropped is a function of (seed, step, batch slot) alone, and T of
the step: so neither the number of workers nor a resumed run changes what is trained on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from na_ray.capture import video
from na_ray.capture.checks.textures import examine_training, flow_name, read_flow
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.rig import Rig
from na_ray.capture.storage import join
from na_ray.config import Experiment
from na_ray.config.selection import SequenceSelection, select_sequences
from na_ray.config.values import StorageError, UserError
from na_ray.run.data.frames import Row

# Draws of one window before it is given up: then hardly anything of the split can be read.
MOST_ATTEMPTS = 16
# Keeps these random numbers apart from those of the NeRF's stream.
_STREAM = 3


@dataclass(frozen=True)
class Clip:
    """The window of frames of one batch slot at one step."""

    step: int
    slot: int


@dataclass(frozen=True)
class MapCrop:
    """One draw of the augmentation, for all maps of a window: the smaller side becomes `side`, then `scale` times that,
    of which a square of `side` is kept."""

    side: int
    """Rows and columns of the result (pixels)."""
    scale: float
    """At least 1."""
    top: float
    """Where the square lies, as a share of the room above and below it."""
    left: float
    """The same from left to right."""

    def enlarged(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of a map before the square is cut out."""
        ratio = self.side * self.scale / min(height, width)
        return max(self.side, round(height * ratio)), max(self.side, round(width * ratio))

    def cut(self, image: Image.Image, enlarged: tuple[int, int]) -> Shaped[np.ndarray, "side side *c"]:
        """Resize a picture bilinearly (antialiased where it shrinks) to `enlarged` and keep the square, in one go."""
        height, width = enlarged
        top, left = round(self.top * (height - self.side)), round(self.left * (width - self.side))
        rows, columns = image.height / height, image.width / width
        box = (left * columns, top * rows, (left + self.side) * columns, (top + self.side) * rows)
        # In floating point the far edges may come to lie a hair outside, which PIL refuses.
        box = (*box[:2], min(box[2], image.width), min(box[3], image.height))
        return np.asarray(image.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box))


@dataclass(frozen=True, eq=False)
class SequenceDataset:
    """What the texture stage reads. Cheap to send to a worker: paths, small arrays and numbers."""

    split: Split
    rig: Rig
    experiment: Experiment
    frames: range
    """Positions in the split, of the frames to train on."""

    @staticmethod
    def make(capture: Capture, experiment: Experiment) -> "SequenceDataset":
        """Read the selections of `experiment.data`.

        Raises UserError, one line per defect, where the stage cannot be trained on the training split.
        """
        split = capture.split(experiment.data.train_split)
        frames = _selection(split, experiment).train_frames
        report = examine_training(split, frames, experiment.texture)
        if report.defects:
            raise UserError("\n".join(report.defects))
        return SequenceDataset(split, capture.rig, experiment, frames)

    @property
    def selection(self) -> SequenceSelection:
        """What is trained on, and what decides."""
        return _selection(self.split, self.experiment)

    @property
    def where(self) -> str:
        """Folder of the split, for messages."""
        return self.split.files.folder

    @property
    def side(self) -> int:
        """Rows and columns of the maps that training sees (px)."""
        return self.experiment.vid2vid.resolution[0]

    def room(self, num_slots: int) -> tuple[int, int]:
        """Bytes of a worker's windows, one for each of its batch slots, and what `data.memory_mb` leaves to decode.

        Raises UserError when that is less than two windows.
        """
        memory = self.experiment.data.memory_mb
        window = self.shard_bytes()
        left = memory * 2**20 - num_slots * window
        if left < 2 * window:
            raise UserError(
                f"data.memory_mb is {memory}: {num_slots} windows of {self.longest()} frames at {self.side} px "
                f"take {num_slots * window / 2**20:.0f} MB and decoding {2 * window / 2**20:.0f} MB; raise it or lower "
                "texture.max_window"
            )
        return num_slots * window, left

    def longest(self) -> int:
        """Frames of the longest window that training comes to."""
        return window_length(self, num_steps(self) - 1)

    def shard_bytes(self) -> int:
        """Bytes of the longest window: two maps of three bytes a pixel, and three floats for a flow from files."""
        pixel = 6 + (12 if self.experiment.texture.flow_target == "file" else 0)
        return self.longest() * self.side**2 * pixel + 4096

    def decode(self, clip: Clip) -> list[Row]:
        """The window of a batch slot and step, as one row at the training size.

        `labels` and `images` (T, h, w, 3) uint8 are normal and texture maps, `frames` (T,) their positions, `skipped`
        the draws that could not be read; for flow from files, `flows` (T, 2, h, w) in pixels and `confidences`
        (T, h, w) float32. Raises UserError or OSError for files that cannot be read; with `data.on_bad_shard` "skip"
        another draw takes their place, and only `MOST_ATTEMPTS` bad ones raise.
        """
        for attempt in range(MOST_ATTEMPTS):
            try:
                return [self._read(*self.draw(clip, attempt)) | {"skipped": np.array(attempt)}]
            except StorageError:
                raise  # no fault of the window
            except (UserError, OSError):
                if self.experiment.data.on_bad_shard == "fail":
                    raise
        raise UserError(f"{self.where}: none of {MOST_ATTEMPTS} windows could be read: see na-ray inspect")

    def prefetch(self, clip: Clip) -> None:
        """Begin to fetch a window's packets, where the capture lies behind a URL."""
        frames, _ = self.draw(clip)
        for path in (self.split.texture_video, self.split.normal_video):
            if path is not None:
                video.prefetch(path, frames.start, frames.stop)

    def draw(self, clip: Clip, attempt: int = 0) -> tuple[range, MapCrop]:
        """The frames of a window, its start drawn uniformly, and its augmentation (parity/vid2vid 4.7)."""
        texture = self.experiment.texture
        length = window_length(self, clip.step)
        rng = np.random.default_rng([self.experiment.train.seed, _STREAM, clip.step, clip.slot, attempt])
        start = self.frames.start + int(rng.integers(len(self.frames) - length + 1))
        scale, top, left = rng.uniform(1, texture.max_scale), rng.uniform(), rng.uniform()
        return range(start, start + length), MapCrop(self.side, float(scale), float(top), float(left))

    def _read(self, frames: range, crop: MapCrop) -> Row:
        shape = (len(frames), crop.side, crop.side)
        row = {"frames": np.array(frames)} | {name: np.empty((*shape, 3), np.uint8) for name in ("labels", "images")}
        with_flow = self.experiment.texture.flow_target == "file"
        if with_flow:
            row |= {
                "flows": np.zeros((shape[0], 2, *shape[1:]), np.float32),
                "confidences": np.zeros(shape, np.float32),
            }
        textures = self.split.textures(frames.start, frames.stop)
        normals = self.split.normal_maps(frames.start, frames.stop)
        for t, (texture, normal) in enumerate(zip(textures, normals, strict=True)):
            # Both take the texture map's proportions, should theirs differ (parity/vid2vid 6.15).
            enlarged = crop.enlarged(*texture.shape[:2])
            row["images"][t] = crop.cut(Image.fromarray(texture), enlarged)
            row["labels"][t] = crop.cut(Image.fromarray(normal), enlarged)
            if with_flow and t > 0:  # a window's first frame has none before it
                flow = self._flow(frames[t], crop, enlarged)
                row["flows"][t], row["confidences"][t] = flow[:2], flow[2]
        return row

    def _flow(self, frame: int, crop: MapCrop, enlarged: tuple[int, int]) -> Float32[np.ndarray, "3 h w"]:
        """Flow and confidence of a frame, resized: a vector grows as its map does."""
        values = read_flow(join(self.experiment.texture.flow_folder, flow_name(self.split.frames[frame])))
        resized = np.stack([crop.cut(Image.fromarray(channel), enlarged) for channel in values])
        resized[0] *= enlarged[1] / values.shape[2]
        resized[1] *= enlarged[0] / values.shape[1]
        return resized


def _selection(split: Split, experiment: Experiment) -> SequenceSelection:
    return select_sequences(experiment.data, experiment.texture, len(split.camera_files), split.num_frames)


@dataclass(frozen=True)
class SequenceSampler:
    """The windows of some batch slots from a step on, endlessly, for a `StepLoader` to read."""

    dataset: SequenceDataset
    slots: tuple[int, ...]
    num_slots: int
    first_step: int

    def shuffle_groups(self) -> Iterator[tuple[int, int, int, tuple[Clip, ...]]]:
        """(batch slot, number of the group, rows to drop, its one clip), in the order of need: a shuffle group is one
        window of frames here."""
        step = self.first_step
        while True:
            for slot in self.slots:
                yield slot, step * self.num_slots + slot, 0, (Clip(step, slot),)
            step += 1


def num_windows(experiment: Experiment) -> int:
    """Windows in one step over all workers."""
    return experiment.texture.global_batch


def epoch_steps(dataset: SequenceDataset) -> int:
    """Steps of an epoch: as many windows as there are frames to train on (parity/vid2vid 4.7)."""
    return max(1, len(dataset.frames) // num_windows(dataset.experiment))


def num_steps(dataset: SequenceDataset) -> int:
    """Steps of the whole training."""
    texture = dataset.experiment.texture
    return texture.steps or texture.epochs * epoch_steps(dataset)


def window_length(dataset: SequenceDataset, step: int) -> int:
    """Frames of the windows at a step: T = min(first_window 2^(step / double_every), max_window, frames)."""
    texture = dataset.experiment.texture
    doublings = min(step // (texture.double_every or epoch_steps(dataset)), math.ceil(math.log2(texture.max_window)))
    return min(texture.first_window * 2**doublings, texture.max_window, len(dataset.frames))
