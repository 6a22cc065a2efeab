"""Which frame of a motion is shown when: playing in a loop, at a speed, or standing still."""

import math
import threading
import time
from collections.abc import Callable

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What the viewer offers, times the motion's own."""


class PlayClock:
    """A position in a motion. Any thread may ask and set."""

    def __init__(self, num_frames: int, fps: float, now: Callable[[], float] = time.monotonic) -> None:
        """Standing at the first frame. `now`: seconds."""
        self._now = now
        self._lock = threading.Lock()
        self._num_frames, self._fps, self._speed = num_frames, fps, 1.0
        self._start = 0.0
        """The position (frames) at the time `_since`."""
        self._since: float | None = None
        """When it began to play from there; None: it stands."""

    @property
    def playing(self) -> bool:
        """Whether it moves."""
        return self._since is not None

    @property
    def num_frames(self) -> int:
        """Frames of the motion."""
        return self._num_frames

    @property
    def frame(self) -> int:
        """The frame to show, 0..num_frames-1."""
        with self._lock:
            return int(self._position()) % self._num_frames

    def wait(self) -> float:
        """Seconds until the next frame is due; infinite while it stands."""
        with self._lock:
            if self._since is None or self._num_frames == 1:
                return math.inf
            position = self._position()
            return (math.floor(position) + 1 - position) / (self._fps * self._speed)

    def play(self, playing: bool = True) -> None:
        """Go on from here, or stand."""
        with self._lock:
            self._hold()
            self._since = self._now() if playing else None

    def scrub(self, frame: int) -> None:
        """Be at a frame; it plays on from there if it was playing."""
        with self._lock:
            self._start = float(frame % self._num_frames)
            self._since = self._now() if self._since is not None else None

    def set_speed(self, speed: float) -> None:
        """So many times the motion's own."""
        with self._lock:
            self._hold()
            self._speed = speed

    def change(self, num_frames: int, fps: float) -> None:
        """Another motion, from its first frame."""
        with self._lock:
            self._num_frames, self._fps, self._start = num_frames, fps, 0.0
            self._since = self._now() if self._since is not None else None

    def _position(self) -> float:
        elapsed = 0.0 if self._since is None else self._now() - self._since
        return (self._start + elapsed * self._fps * self._speed) % self._num_frames

    def _hold(self) -> None:
        """Start anew from the present position."""
        self._start = self._position()
        self._since = self._now() if self._since is not None else None
