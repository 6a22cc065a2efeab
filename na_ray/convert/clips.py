"""The pictures of one camera as they come: a video, or a folder of pictures in the natural order of their names."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from na_ray.capture import video
from na_ray.capture.image import image_resolution, read_image
from na_ray.capture.layout import IMAGES, VIDEOS
from na_ray.capture.naming import by_number
from na_ray.capture.storage import join, listing
from na_ray.config.values import UserError

# Frames in between that are not wanted are decoded all the same where they are so few: a seek costs more.
_GAP = 16


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts `cam2` before `cam10`."""
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split("([0-9]+)", name))


@dataclass(frozen=True)
class CameraClip:
    """One camera's pictures, and its masks where it has some. Nothing is opened before it is asked for."""

    name: str
    """The camera's."""
    path: str
    """A video, or a folder of pictures."""
    masks: str | None = None
    """A folder of masks, or a video of them."""

    @cached_property
    def is_video(self) -> bool:
        """Whether it is a video. Raises FileNotFoundError where there is nothing."""
        if os.path.isdir(self.path):
            return False
        if not os.path.isfile(self.path):
            expected = f"expected camera {self.name}'s video or a folder of its pictures"
            raise FileNotFoundError(f"{self.path}: no such file; {expected}: copy it there")
        if not self.path.lower().endswith(VIDEOS):
            raise UserError(f"{self.path} is no video ({', '.join(VIDEOS)}) and no folder of pictures: encode it so")
        return True

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """Names of the folder's pictures; empty for a video. Raises UserError where there are none."""
        return () if self.is_video else pictures_of(self.path)

    @cached_property
    def frames(self) -> int:
        """How many there are. Raises UserError where there are none."""
        if not self.is_video:
            return len(self.pictures)
        found = video.count(self.path)
        if not found:
            raise UserError(f"{self.path}: the video holds no frame; expected one at least: copy the file again")
        return found

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright pictures: by the header of the video or of the first picture."""
        return video.resolution(self.path) if self.is_video else image_resolution(join(self.path, self.pictures[0]))

    def images(self, positions: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w c"]]:
        """The pictures at ascending positions, upright, RGB or RGBA, one at a time.

        Raises UserError where one is damaged or of another size than the first.
        """
        stream = decoded(self.path, positions) if self.is_video else self._read(positions)
        for position, image in zip(positions, stream, strict=True):
            if image.shape[:2] != self.size:
                where = self.path if self.is_video else join(self.path, self.pictures[position])
                found = f"frame {position} is {image.shape[1]}x{image.shape[0]}"
                expected = f"expected {self.size[1]}x{self.size[0]}, as the first: leave out what is not of this camera"
                raise UserError(f"{where}: {found}; {expected}")
            yield image

    def _read(self, positions: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w c"]]:
        return (read_image(join(self.path, self.pictures[position])) for position in positions)


def pictures_of(folder: str) -> tuple[str, ...]:
    """Names of a folder's pictures, in natural order. Raises UserError where there are none."""
    found = [name for name in listing(folder) if name.lower().endswith(IMAGES)]
    if not found:
        raise UserError(f"{folder}: no pictures; expected {', '.join(IMAGES)} files, one a frame: copy them there")
    return tuple(sorted(found, key=natural))


def decoded(path: str, positions: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """Frames of a video at ascending positions."""
    for run in runs(positions):
        wanted = set(run)
        for position, image in enumerate(video.decode(path, run[0], run[-1] + 1), run[0]):
            if position in wanted:
                yield image


def runs(positions: Sequence[int]) -> Iterator[Sequence[int]]:
    """Ascending positions in groups between which a decoder had better seek."""
    start = 0
    for i in range(1, len(positions) + 1):
        if i == len(positions) or positions[i] - positions[i - 1] > _GAP:
            yield positions[start:i]
            start = i


def common_range(clips: Sequence[CameraClip]) -> tuple[range, list[str]]:
    """(positions that every camera has, lines for the user where some have more).

    Raises UserError where a folder lacks a picture in the middle: what comes behind it would belong to other instants.
    """
    counts = {clip.name: clip.frames for clip in clips}
    shortest = min(counts.values())
    _check_numbers(clips, shortest)
    longer = [f"{name} ({count})" for name, count in counts.items() if count > shortest]
    if not longer:
        return range(shortest), []
    usual = Counter(counts.values()).most_common(1)[0][0]
    short = [name for name, count in counts.items() if count == shortest]
    cause = f", all that camera {short[0]} has" if usual != shortest else ""
    cut = f"more frames in {', '.join(longer[:6])}{' and others' if len(longer) > 6 else ''}"
    return range(shortest), [f"the first {shortest} frames of each camera are used{cause}; {cut}"]


def _check_numbers(clips: Sequence[CameraClip], count: int) -> None:
    """Refuse folders whose pictures have other numbers at the same positions."""
    folders = [clip for clip in clips if not clip.is_video]
    numbers = {clip.path: numbers_of(clip.path, clip.pictures)[:count] for clip in folders}
    first = next((clip for clip in folders if numbers[clip.path]), None)
    for clip in folders:
        found = numbers[clip.path]
        if first is None or not found or found == numbers[first.path]:
            continue
        if _alike(clip.pictures[:count], first.pictures[:count]):
            continue
        others = numbers[first.path]
        at = next(i for i in range(count) if found[i] != others[i])
        other = join(first.path, first.pictures[at])
        if not set(found) & set(others):
            what = f"{clip.pictures[at]} and {other}: the two cameras have no number in common"
            raise UserError(f"{clip.path}: {what}; expected the same number for the same instant: rename the pictures")
        what = f"picture {at} is {clip.pictures[at]}, where {other} is the other camera's"
        raise UserError(f"{clip.path}: {what}: copy the missing picture, or remove it from every camera")


def _alike(names: Sequence[str], others: Sequence[str]) -> bool:
    """Whether one of several numbers in the names is that of the frame: the last one may be the milliseconds'."""
    rows, other_rows = ([re.findall("[0-9]+", name.rsplit(".", 1)[0]) for name in each] for each in (names, others))
    for column in range(1, min(map(len, [*rows, *other_rows])) + 1):
        found = [int(row[-column]) for row in rows]
        if len(set(found)) == len(found) and found == [int(row[-column]) for row in other_rows]:
            return True
    return False


def numbers_of(folder: str, names: Sequence[str]) -> tuple[int, ...]:
    """The frames' numbers that a folder's pictures bear, in the order of `names`; empty where none bears one.

    Raises UserError where two share a number, or some bear none: whatever comes behind them would be another instant's.
    """
    files = by_number(folder, names, IMAGES)
    numbers = {name: number for number, name in files.items()}
    bare = next((name for name in names if name not in numbers), None)
    if numbers and bare is not None:
        usual = next(iter(numbers))
        raise UserError(f"{folder}: {bare} bears no number, as {usual} does: move what is no frame elsewhere")
    return tuple(numbers[name] for name in names) if numbers else ()
