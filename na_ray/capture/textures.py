"""Texture maps of a motion that lie elsewhere than in its split: predicted ones, or those of another program."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from na_ray.capture import video
from na_ray.capture.dataset import Split
from na_ray.capture.image import read_image
from na_ray.capture.layout import IMAGES, VIDEOS, find_map_videos
from na_ray.capture.naming import by_number
from na_ray.capture.storage import join, listing
from na_ray.config.secrets import public
from na_ray.config.values import UserError


@runtime_checkable
class TextureSource(Protocol):
    """Where a motion's texture maps come from."""

    def texture(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The texture map, RGB, of the frame at a position in the split; its first row is v = 1."""


@dataclass(frozen=True, eq=False)
class Textures:
    """Texture maps by frame: a picture each, named by the frame's number, or a video of the split's first frames."""

    source: str
    """The folder of pictures, or the video."""
    files: dict[int, str]
    """Picture by the position of its frame; none where `source` is a video."""

    @classmethod
    def open(cls, path: str | os.PathLike[str], split: Split, frames: Sequence[int]) -> "Textures":
        """Find the texture maps of `frames` (positions in the split): in a folder of NNNNNN.png, in a video, or in a
        folder that holds `tex/` or `tex*.avi`, as `na-ray predict-textures` writes it.

        Raises FileNotFoundError or UserError, one line, where a frame has none.
        """
        place = public(os.fspath(path))
        names = listing(place)
        videos = find_map_videos(place, names, "tex")
        if "tex" in names:
            place = join(place, "tex")
        elif videos:
            place = videos[0]
        if place.lower().endswith(VIDEOS):
            return cls._in_video(place, frames)
        found = by_number(place, listing(place), IMAGES)
        if not found:
            what = "no texture maps" if names else "no such folder with files in it"
            expected = "expected pictures such as 000000.png, a folder tex/, or tex*.avi: na-ray predict-textures"
            raise FileNotFoundError(f"{place}: {what}; {expected} makes them")
        numbers = {position: split.frames[position] for position in frames}
        missing = [number for number in numbers.values() if number not in found]
        if missing:
            raise FileNotFoundError(
                f"{place}: no texture map of frame {missing[0]} ({len(missing)} of {len(numbers)} frames lack one): "
                "predict them, too, or choose other frames"
            )
        return cls(place, {position: join(place, found[number]) for position, number in numbers.items()})

    @classmethod
    def _in_video(cls, path: str, frames: Sequence[int]) -> "Textures":
        count = video.count(path)
        if max(frames) >= count:
            raise UserError(f"{path}: holds {count} frames; frame {max(frames)} was asked for: choose other frames")
        return cls(path, {})

    def texture(self, position: int) -> UInt8[np.ndarray, "h w 3"]:
        """The texture map, RGB, of the frame at a position in the split; its first row is v = 1."""
        if self.files:
            return read_image(self.files[position])[:, :, :3]
        return next(video.decode(self.source, position, position + 1))[:, :, :3]
