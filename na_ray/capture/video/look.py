"""From a decoded frame to the picture that players show: its colors, its alpha, upright."""

import struct
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

# Numbers of ITU-T H.273: transfer functions of high dynamic range, that an RGB of eight bits shows washed out.
HDR = {16: "PQ", 18: "HLG"}


class Look:
    """Converts the frames of one video."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._turn: Turn | None = None

    def picture(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w c"]:
        """RGB, or RGBA where the video has alpha, upright."""
        if self._turn is None:
            # Once a video: a frame that was asked for its side data stays in memory until Python's garbage collector
            # comes by, hundreds of frames later.
            self._turn = turn_of(frame)
        kind = "rgba" if has_alpha(frame.format) else "rgb24"
        return upright(self._reformatter.reformat(frame, format=kind, threads=1).to_ndarray(), self._turn)


def has_alpha(format: VideoFormat) -> bool:
    """Whether frames of a format say how opaque they are."""
    return any(component.is_alpha for component in format.components)


Turn = tuple[int, int, int, int]
"""Signs of (a, b, c, d): a pixel (x, y) is shown at (a x + c y, b x + d y)."""


def turn_of(frame: av.VideoFrame) -> Turn:
    """How a frame is to be turned to be upright, as its file's display matrix says; (1, 0, 0, 1): not at all."""
    sides: Any = frame.side_data  # PyAV's annotations take its keys for names
    held = sides.get(Type.DISPLAYMATRIX)
    if held is None:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack_from("=5i", bytes(held))
    largest = max(map(abs, (a, b, c, d)), default=0)
    # Turns by other angles than right ones leave the pictures as they are stored, as players do.
    signs = [(n > largest / 2) - (n < -largest / 2) for n in (a, b, c, d)]
    right = abs(signs[0] * signs[3] - signs[1] * signs[2]) == 1 and sum(map(abs, signs)) == 2
    return (signs[0], signs[1], signs[2], signs[3]) if right else (1, 0, 0, 1)


def upright(image: np.ndarray, turn: Turn) -> np.ndarray:
    """A picture (h, w, c), turned."""
    a, b, c, d = turn
    if turn == (1, 0, 0, 1):
        return image
    if a == 0:
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: d or 1, :: a or 1])
