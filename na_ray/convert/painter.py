"""A finished picture of a capture: without its lens, on an even background."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from na_ray.convert.covering import Covered
from na_ray.convert.matte import Part, Rgb

if TYPE_CHECKING:
    from na_ray.convert.unbend import Unbending


class Painter:
    """Puts pictures on an even background, without their lens."""

    def __init__(self, background: Rgb, unbending: "Unbending | None") -> None:
        self._background = np.array(background, np.uint8)
        self._unbending = unbending
        self._blank: UInt8[np.ndarray, "h w 3"] | None = None

    def paint(self, pair: Covered) -> Covered:
        """The finished picture and its alpha, both of the source's size."""
        image, alpha = pair
        if alpha is None:
            return self._plain(image), None
        if self._blank is None:
            self._blank = np.broadcast_to(self._background, image.shape).copy()
        picture, clear = self._blank.copy(), np.zeros_like(alpha)
        if (source := _box_of(alpha)) is None:
            return picture, clear
        box: Part | None = source
        if self._unbending is None:
            colors, share = image[source], alpha[source]
        else:
            if (box := self._unbending.part_of(source)) is None:
                return picture, clear
            excerpt = self._unbending.excerpt(box)
            colors, share = excerpt.look_up(image), excerpt.look_up(alpha[..., None], cubic=False)[..., 0]
        picture[box], clear[box] = _over(colors, share, self._background), share
        return picture, clear

    def _plain(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        if self._unbending is None:
            return image
        picture = self._unbending.whole.look_up(image)
        picture[self._unbending.outside] = self._background
        return picture


def _box_of(alpha: UInt8[np.ndarray, "h w"]) -> "Part | None":
    """Where it is not zero."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _over(
    colors: UInt8[np.ndarray, "h w 3"], share: UInt8[np.ndarray, "h w"], background: UInt8[np.ndarray, "3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """a * colors + (1 - a) * background, rounded to the nearest; exact in sixteen bits."""
    own = share[..., None].astype(np.uint16)
    mixed = colors * own
    mixed += background * (255 - own)
    mixed += 128  # n / 255, rounded, is (n + 128 + (n + 128) / 256) / 256 for n up to 255 * 255
    mixed += mixed >> 8
    mixed >>= 8
    return mixed.astype(np.uint8)
