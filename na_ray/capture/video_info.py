"""What is known of a video file: by its header alone, and after reading it through."""

from dataclasses import dataclass


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
