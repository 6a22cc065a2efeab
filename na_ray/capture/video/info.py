"""What is known of a video file: by its header alone, by its index, and after reading it through."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from na_ray.capture.video.clock import Clock
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
    remarks: tuple[str, ...] = ()
    """What is unusual about its pictures, a half line each."""

    def info(self, num_frames: int, index: "VideoIndex", size: int) -> "VideoInfo":
        """With what was counted, and the file's size in bytes."""
        duration = num_frames / self.fps if self.fps else 0.0
        about = (self.width, self.height, self.codec, self.fps, duration, size)
        return VideoInfo(num_frames, index.declared_frames, *about, index.remarks, self.remarks)


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
    counting: tuple[str, ...] = ()
    """Why its frames may be fewer or more than a user counts, a half line each."""
    remarks: tuple[str, ...] = ()
    """What is unusual about its pictures, a half line each."""


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
    hidden: bool = False
    """Whether an edit list says that its frame is not shown: players and decoders leave it out."""


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """Where the packets of a video lie, and where decoding may start."""

    num_frames: int
    """Frames that are shown."""
    declared_frames: int
    """Frames that the header promises, less those that it hides or knows to be dropped; 0 where it does not say."""
    complete: bool
    """Whether the file's own index names every frame, so that nothing else had to be read."""
    reordered: int
    """Packets behind a frame's own that may be needed to show it."""
    keys: tuple[int, ...]
    """Numbers of the first frames shown by decoding from each of the key packets, ascending."""
    dts: tuple[int, ...]
    """Their decoding timestamps."""
    places: Int64[np.ndarray, "n 2"]
    """First byte and end of each packet, in the order of decoding; -1 where the file does not say."""
    before: Int64[np.ndarray, "n"]
    """Frames shown of the packets before each one."""
    remarks: tuple[str, ...]
    """Why the frames may be fewer or more than a user counts, a half line each."""

    @staticmethod
    def of(packets: Sequence[PacketPlace], declared_frames: int, own: bool, codec: str, edited: bool) -> "VideoIndex":
        """From all packets, in the order of decoding.

        `own`: they come from the file's own index; `edited`: that index holds every packet, and whether it is shown.
        """
        before = np.cumsum([0, *(not p.hidden for p in packets)])
        shown, stored = int(before[-1]), declared_frames
        clock = Clock.of([p.dts for p in packets])
        if edited or shown + clock.skipped == declared_frames:
            declared_frames = shown
        keys = [(int(before[n]), p.dts) for n, p in enumerate(packets) if p.is_key and p.dts is not None]
        places = [(-1, -1) if p.position is None else (p.position, p.position + p.size) for p in packets]
        hidden = stored - shown if edited else len(packets) - shown
        restore = "ffmpeg -ignore_editlist 1 -i IN OUT brings them back"
        edits = f"{hidden} more are stored and hidden by an edit list, as in players: {restore}"
        return VideoIndex(
            num_frames=shown,
            declared_frames=declared_frames,
            complete=own and shown == declared_frames,
            reordered=REORDERED if codec == "h264" else 0,
            keys=tuple(n for n, _ in keys),
            dts=tuple(dts for _, dts in keys),
            places=np.array(places, np.int64).reshape(-1, 2),
            before=before[:-1],
            remarks=((edits,) if hidden > 0 else ()) + clock.remarks,
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
            why = f" ({'; '.join(self.remarks)})" if self.remarks else ""
            raise UserError(f"{path}: frames {start}..{stop} do not exist; {expected}{why}")

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """First byte and end of what decoding the frames start..stop needs: from a key packet on.

        (0, 0) where that is not known.
        """
        entry = self.entry(start)
        # Of the packets that stand before one frame, hidden ones, the first is the key.
        first = int(np.searchsorted(self.before, self.keys[entry - 1])) if entry else 0
        last = int(np.searchsorted(self.before, stop)) + self.reordered
        part = self.places[first:last]
        if not len(part) or part.min() < 0:
            return 0, 0
        return int(part[:, 0].min()), int(part[:, 1].max()) + CHUNK_HEAD

    def within(self, size: int) -> int:
        """Frames shown of the packets that end within the first `size` bytes."""
        shown = np.diff(np.append(self.before, self.num_frames))
        return int(shown[self.places[:, 1] <= size].sum())
