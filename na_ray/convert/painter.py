"""A finished picture of a capture: without its lens, on an even background."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from na_ray.convert.covering import Covered
from na_ray.convert.matte import Color

if TYPE_CHECKING:
    from na_ray.convert.unbend import Box, Unbending


class Painter:
    """Puts pictures on an even background, without their lens."""

    def __init__(self, background: Color, unbending: "Unbending | None") -> None:
        self._background = np.array(background, np.uint8)
        self._unbending = unbending

    def paint(self, pair: Covered) -> Covered:
        """The finished picture and its alpha, both of the source's size."""
        image, alpha = pair
        if alpha is None:
            return self._plain(image), None
        picture = np.empty_like(image)
        picture[:], clear = self._background, np.zeros_like(alpha)
        if (source := _box_of(alpha)) is None:
            return picture, clear
        box: Box | None = source
        if self._unbending is None:
            colors, share = image[source], alpha[source]
        else:
            if (box := self._unbending.box_of(source)) is None:
                return picture, clear
            colors = self._unbending.look_up(image, box)
            share = self._unbending.look_up(alpha[..., None], box, cubic=False)[..., 0]
        picture[box], clear[box] = _over(colors, share, self._background), share
        return picture, clear

    def _plain(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        if self._unbending is None:
            return image
        picture = self._unbending.look_up(image, self._unbending.all)
        picture[self._unbending.outside] = self._background
        return picture


def _box_of(alpha: UInt8[np.ndarray, "h w"]) -> "Box | None":
    """Where it is not zero."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _over(
    colors: UInt8[np.ndarray, "h w 3"], share: UInt8[np.ndarray, "h w"], background: UInt8[np.ndarray, "3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """a * colors + (1 - a) * background, rounded; exact in sixteen bits."""
    own = share[..., None].astype(np.uint16)
    return ((colors * own + background * (255 - own) + 127) // 255).astype(np.uint8)
