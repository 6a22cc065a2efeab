"""What the times of a video's packets say: which frames the recorder dropped, and whether they come evenly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A step this much longer or shorter than the usual one is another step; milliseconds round 33.3 to 33 and 34.
UNLIKE = 0.3
# Fewer uneven steps than this share of them are a hiccup of the clock.
FEW = 0.02


@dataclass(frozen=True)
class Clock:
    """The steps from packet to packet."""

    skipped: int
    """Frames that are missing, by whole steps that are left out."""
    first_skip: int
    """The frame behind which the first of them would stand."""
    uneven: bool
    """Whether the steps differ otherwise: a variable frame rate."""

    @classmethod
    def of(cls, times: Sequence[int | None]) -> "Clock":
        """Of the packets' decoding times, in any unit; unknown ones do not count."""
        steps = np.diff(np.array([t for t in times if t is not None], np.float64))
        usual = float(np.median(steps)) if len(steps) else 0.0
        if usual <= 0:
            return cls(0, 0, False)
        ratio = steps / usual
        whole = np.round(ratio)
        skips = (whole >= 2) & (np.abs(ratio - whole) < UNLIKE)
        uneven = (np.abs(ratio - 1) > UNLIKE) & ~skips
        first = int(np.flatnonzero(skips)[0]) if skips.any() else 0
        # Where every other step is two, the usual one is no frame's: the rate varies.
        return cls(int((whole - 1)[skips].sum()), first, bool(uneven.mean() > FEW or skips.mean() > 1 / 3))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Half lines."""
        if self.uneven:
            return ("its frames come at uneven times (a variable rate): they are counted, whatever their times",)
        if not self.skipped:
            return ()
        repeat = "ffmpeg -i IN -fps_mode cfr OUT repeats the frame before each"
        return (f"its clock skips {self.skipped} frames, the first behind frame {self.first_skip}: {repeat}",)
