"""What tells the person from the background: masks of another program, a colored backdrop, or a picture of the empty
room. A *matte* is how much of a pixel the person covers, 0..255."""

from dataclasses import dataclass

Rgb = tuple[int, int, int]
"""RGB, 0..255."""

Part = tuple[slice, slice]
"""Rows and columns of a picture."""


@dataclass(frozen=True)
class MaskMatte:
    """Each camera's own masks."""


@dataclass(frozen=True)
class ChromaMatte:
    """A backdrop of one color."""

    color: Rgb | None = None
    """The backdrop's; None: what the borders of the pictures show."""


@dataclass(frozen=True)
class PlateMatte:
    """A picture of each camera without the person."""

    folder: str
    """Holds one picture a camera, named as the camera."""


Matte = MaskMatte | ChromaMatte | PlateMatte
"""What tells the person from the background."""
