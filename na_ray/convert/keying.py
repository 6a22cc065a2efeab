"""A soft matte from a known background: one color, or a picture of the empty room.

Where a picture is the mixture a F + (1 - a) K of the person's color F and the background's K, its distance from K is
a |F - K|. |F - K| is read off the most distant pixel nearby, so a follows at the outline; within it, a is 1. F is what
remains of the mixture, so no fringe of the old background comes along.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from na_ray.config.values import UserError
from na_ray.convert.matte import Rgb

# Pixels of the outline that may be mixed.
SOFT = 2
# Specks and holes smaller than this share of the picture are noise.
SPECK = 5e-4
# A piece smaller than this share of the largest is none of the person.
PIECE = 0.02
# No difference smaller than this (levels) is seen as one.
QUIET = 12.0
# How many times the usual difference from the background is more than noise.
NOISE = 6.0
# A backdrop is even where this share of the border is near its color, and a plate fits where so much is near it.
EVEN, FITS = 0.6, 0.3
# A darkening to no less than this share may be a shadow: it counts for a third.
SHADOW, SHADED = 0.5, 1 / 3
# Distances (levels) of colors that still are the backdrop's, and of the colors that are not gray.
NEAR, COLORFUL = 40.0, 20.0
# Blue and red differences of ITU-R BT.601.
_CHROMA = np.array([[-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float32)


class ColorKey:
    """A backdrop of one color. Brightness does not count where it has a hue: shadows fall on it."""

    def __init__(self, color: Rgb | None, samples: Sequence[UInt8[np.ndarray, "h w 3"]], where: str) -> None:
        """`samples`: pictures, whose borders show the backdrop. Raises UserError, naming `where`, if it is uneven."""
        borders = np.concatenate([_border(sample) for sample in samples]).astype(np.float32)
        self.color = np.array(np.median(borders, axis=0) if color is None else color, np.float32)
        chroma = _CHROMA @ self.color
        self._axes = _CHROMA if np.linalg.norm(chroma) > COLORFUL else np.eye(3, dtype=np.float32)
        off = np.linalg.norm((borders - self.color) @ self._axes.T, axis=1)
        near = off < NEAR
        self.even = float(near.mean())
        if self.even < EVEN:
            found = f"only {100 * self.even:.0f} % of the borders of its pictures have the backdrop's color {self.name}"
            raise UserError(f"{where}: {found}: name its color, or use masks or a clean plate")
        self.quiet = max(QUIET, float(np.percentile(off[near], 99)) * 1.25)

    @property
    def name(self) -> str:
        """The color as `#rrggbb`."""
        return "#" + "".join(f"{int(c):02x}" for c in self.color)

    def matte(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """(the person's colors, how much of each pixel is the person's)."""
        off = (image.reshape(-1, 3).astype(np.float32) - self.color) @ self._axes.T
        distance = np.sqrt(np.einsum("ij,ij->i", off, off)).reshape(image.shape[:2])
        return _cut_out(image, np.broadcast_to(self.color, image.shape), distance, self.quiet)


class PlateKey:
    """A picture of the same camera without the person."""

    def __init__(
        self, plate: UInt8[np.ndarray, "h w 3"], samples: Sequence[UInt8[np.ndarray, "h w 3"]], where: str
    ) -> None:
        """`samples`: pictures with the person. Raises UserError, naming `where`, if the plate shows another scene."""
        self.plate = plate.astype(np.float32)
        length = np.sqrt((self.plate**2).sum(axis=2))
        self._length = np.maximum(length, 1)
        self.quiet = QUIET
        distances = [self._distance(sample, self._gained(sample)) for sample in samples]
        fits = float(np.mean([(d < 2 * QUIET).mean() for d in distances]))
        if fits < FITS:
            found = f"only {100 * fits:.0f} % of the pictures look like it"
            raise UserError(f"{where}: {found}: take it with the same camera, place, light and exposure, or use masks")
        self.quiet = max(QUIET, NOISE * float(np.mean([np.median(d) for d in distances])))

    def matte(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """(the person's colors, how much of each pixel is the person's)."""
        plate = self._gained(image)
        return _cut_out(image, plate, self._distance(image, plate), self.quiet)

    def _gained(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
        """The plate at the picture's exposure: most of both is the same background."""
        a, b = image[::4, ::4].reshape(-1, 3).astype(np.float32), self.plate[::4, ::4].reshape(-1, 3)
        usable = (b.min(axis=1) > 20) & (a.max(axis=1) < 250) & (b.max(axis=1) < 250)
        if usable.sum() < 100:
            return self.plate
        return self.plate * np.median(a[usable] / b[usable], axis=0)

    def _distance(
        self, image: UInt8[np.ndarray, "h w 3"], plate: Float32[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w"]:
        off = image - plate
        along = np.einsum("ijk,ijk->ij", off, plate) / self._length
        across = np.maximum(np.einsum("ijk,ijk->ij", off, off) - along**2, 0)
        shaded = (along < 0) & (along > (SHADOW - 1) * self._length)
        return np.sqrt(across + np.where(shaded, along * SHADED, along) ** 2)


def _border(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Pixels of a frame a twentieth of the picture wide, some of them."""
    wide = max(2, min(image.shape[:2]) // 20)
    parts = (image[:wide], image[-wide:], image[wide:-wide, :wide], image[wide:-wide, -wide:])
    return np.concatenate([part[::2, ::2].reshape(-1, 3) for part in parts])


def _cut_out(
    image: UInt8[np.ndarray, "h w 3"],
    known: Float32[np.ndarray, "h w 3"],
    distance: Float32[np.ndarray, "h w"],
    quiet: float,
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    alpha, colors = np.zeros(distance.shape, np.uint8), image.copy()
    person = _without_specks(distance > quiet)
    rows, columns = np.flatnonzero(person.any(axis=1)), np.flatnonzero(person.any(axis=0))
    if not len(rows):
        return colors, alpha
    margin = 2 * SOFT
    box = tuple(slice(max(0, at[0] - margin), at[-1] + 1 + margin) for at in (rows, columns))
    alpha[box], colors[box] = _soften(image[box], known[box], distance[box], person[box], quiet)
    return colors, alpha


def _soften(
    image: UInt8[np.ndarray, "h w 3"],
    known: Float32[np.ndarray, "h w 3"],
    distance: Float32[np.ndarray, "h w"],
    person: Bool[np.ndarray, "h w"],
    quiet: float,
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w 3"]]:
    """Alpha and the person's own colors."""
    from scipy import ndimage  # who brings masks needs none of it

    width = 2 * SOFT + 1
    outside = ndimage.minimum_filter(person, width) != ndimage.maximum_filter(person, width)
    whole = np.maximum(ndimage.maximum_filter(np.where(person, distance, 0), width), 2 * quiet)
    still = quiet / 3
    share = np.where(outside, np.clip((distance - still) / (whole - still), 0, 1), person)
    # A pixel apart from the outline, however loud, is no edge of it.
    share = np.where(ndimage.maximum_filter(person, 3), share, 0).astype(np.float32)
    mixed = (share > 0.05) & (share < 1)
    own = (image[mixed] - (1 - share[mixed])[:, None] * known[mixed]) / share[mixed][:, None]
    colors = image.copy()
    colors[mixed] = (own.clip(0, 255) + 0.5).astype(np.uint8)
    return (share * 255 + 0.5).astype(np.uint8), colors


def _without_specks(person: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Without what is too small to be of the person, and without holes as small."""
    from scipy import ndimage

    pieces, count = ndimage.label(person)
    if not count:
        return person
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = sizes >= max(SPECK * person.size, PIECE * sizes.max())
    person = kept[pieces]
    holes, _ = ndimage.label(~person)
    sizes = np.bincount(holes.ravel())
    small = sizes < SPECK * person.size
    small[0] = False
    return person | small[holes]
