"""What is known of a video file: by its header alone, by its index, and after reading it through."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from na_ray.config.values import UserError

# H.264 stores a frame up to so many packets behind the place where it is shown (b-pyramids of x264: 2).
REORDERED = 4
# AVI's index counts from a chunk's head, which is so long (bytes).
CHUNK_HEAD = 8


@dataclass(frozen=True)
class VideoHeader:
    """What a video file says about itself at its beginning."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    codec: str
    """Name of the codec, as FFmpeg spells it."""
    fps: float
    """Frames per second, 0 where it does not say."""

    def info(self, num_frames: int, declared_frames: int, size: int) -> "VideoInfo":
        """With what was counted, and the file's size in bytes."""
        duration = num_frames / self.fps if self.fps else 0.0
        return VideoInfo(num_frames, declared_frames, self.width, self.height, self.codec, self.fps, duration, size)


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself, and what is really in it."""

    num_frames: int
    """Frames that the file holds, counted."""
    declared_frames: int
    """Frames that its header promises; 0 where it does not say."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    codec: str
    """Name of the codec, as FFmpeg spells it."""
    fps: float
    """Frames per second."""
    duration: float
    """Seconds."""
    size: int
    """Bytes of the file."""


class PacketPlace(NamedTuple):
    """One packet, and where it lies in its file."""

    dts: int | None
    """Decoding timestamp."""
    is_key: bool
    """Whether decoding may start here."""
    position: int | None
    """Byte at which it begins (in AVI's index: its chunk's head, 8 bytes before); None where the file does not say."""
    size: int
    """Bytes."""


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Where the packets of a video lie, and where decoding may start."""

    num_frames: int
    """Packets, a frame each."""
    declared_frames: int
    """Frames that the header promises; 0 where it does not say."""
    complete: bool
    """Whether the file's own index names every frame, so that nothing else had to be read."""
    reordered: int
    """Packets behind a frame's own that may be needed to show it."""
    keys: tuple[int, ...]
    """Numbers of the key packets, ascending."""
    dts: tuple[int, ...]
    """Their decoding timestamps."""
    places: Int64[np.ndarray, "n 2"]
    """First byte and end of each packet, in the order of decoding; -1 where the file does not say."""

    @staticmethod
    def of(packets: Sequence[PacketPlace], declared_frames: int, complete: bool, codec: str) -> "VideoIndex":
        """From all packets, in the order of decoding."""
        keys = [(n, p.dts) for n, p in enumerate(packets) if p.is_key and p.dts is not None]
        places = [(-1, -1) if p.position is None else (p.position, p.position + p.size) for p in packets]
        return VideoIndex(
            num_frames=len(packets),
            declared_frames=declared_frames,
            complete=complete,
            reordered=REORDERED if codec == "h264" else 0,
            keys=tuple(n for n, _ in keys),
            dts=tuple(dts for _, dts in keys),
            places=np.array(places, np.int64).reshape(-1, 2),
        )

    def entry(self, start: int) -> int:
        """How many of the keys are at or before frame `start`."""
        return bisect.bisect_right(self.keys, start)

    def check_range(self, path: str, start: int, stop: int) -> None:
        """Raise UserError unless the video is whole and has the frames start..stop."""
        if self.num_frames < self.declared_frames:
            found = f"truncated: {self.num_frames} of {self.declared_frames} frames are there"
            raise UserError(f"{path}: {found}: copy the file again")
        if not 0 <= start <= stop <= self.num_frames:
            expected = f"expected a range within 0..{self.num_frames}"
            raise UserError(f"{path}: frames {start}..{stop} do not exist; {expected}")

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """First byte and end of what decoding the frames start..stop needs: from a key packet on.

        (0, 0) where that is not known.
        """
        entry = self.entry(start)
        part = self.places[self.keys[entry - 1] if entry else 0 : stop + self.reordered]
        if not len(part) or part.min() < 0:
            return 0, 0
        return int(part[:, 0].min()), int(part[:, 1].max()) + CHUNK_HEAD

    def within(self, size: int) -> int:
        """Packets that end within the first `size` bytes."""
        return int((self.places[:, 1] <= size).sum())
