"""A soft matte from a known background: one color, or a picture of the empty room.

Where a picture is the mixture a F + (1 - a) K of the person's color F and the background's K, its distance from K is
a |F - K|. |F - K| is read off the most distant pixel nearby, so a follows at the outline; within it, a is 1. F is what
remains of the mixture, so no fringe of the old background comes along.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from na_ray.config.values import UserError
from na_ray.convert.matte import Part, Rgb

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


# Pixels around the person, of which every other one was seen.
MARGIN = 8

EVERY_OTHER: Part = (slice(None, None, 2), slice(None, None, 2))
_Measured = tuple[Float32[np.ndarray, "i j 3"], Float32[np.ndarray, "i j"]]
"""Of a part: the background's colors, and how far (levels) the picture is from them."""


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

        def measure(part: Part) -> _Measured:
            off = (image[part].astype(np.float32) - self.color) @ self._axes.T
            return np.broadcast_to(self.color, image[part].shape), np.sqrt(np.einsum("ijk,ijk->ij", off, off))

        return _cut_out(image, measure, self.quiet)


class PlateKey:
    """A picture of the same camera without the person."""

    def __init__(
        self, plate: UInt8[np.ndarray, "h w 3"], samples: Sequence[UInt8[np.ndarray, "h w 3"]], where: str
    ) -> None:
        """`samples`: pictures with the person. Raises UserError, naming `where`, if the plate shows another scene."""
        self.plate = plate.astype(np.float32)
        self._length = np.maximum(np.sqrt((self.plate**2).sum(axis=2)), 1)
        distances = [self._measure(sample, self._gain(sample), EVERY_OTHER)[1] for sample in samples]
        fits = float(np.mean([(d < 2 * QUIET).mean() for d in distances]))
        if fits < FITS:
            found = f"only {100 * fits:.0f} % of the pictures look like it"
            raise UserError(f"{where}: {found}: take it with the same camera, place, light and exposure, or use masks")
        self.quiet = max(QUIET, NOISE * float(np.mean([np.median(d) for d in distances])))

    def matte(self, image: UInt8[np.ndarray, "h w 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """(the person's colors, how much of each pixel is the person's)."""
        gain = self._gain(image)
        return _cut_out(image, lambda part: self._measure(image, gain, part), self.quiet)

    def _gain(self, image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "3"]:
        """What brings the plate to the picture's exposure: most of both is the same background."""
        a, b = image[::4, ::4].reshape(-1, 3).astype(np.float32), self.plate[::4, ::4].reshape(-1, 3)
        usable = (b.min(axis=1) > 20) & (a.max(axis=1) < 250) & (b.max(axis=1) < 250)
        return np.median(a[usable] / b[usable], axis=0) if usable.sum() >= 100 else np.ones(3, np.float32)

    def _measure(self, image: UInt8[np.ndarray, "h w 3"], gain: Float32[np.ndarray, "3"], part: Part) -> _Measured:
        plate, length = self.plate[part] * gain, self._length[part]
        off = image[part] - plate
        along = np.einsum("ijk,ijk->ij", off, self.plate[part]) / length
        across = np.maximum(np.einsum("ijk,ijk->ij", off, off) - along**2, 0)
        shaded = (along < 0) & (along > (SHADOW - 1) * length)
        return plate, np.sqrt(across + np.where(shaded, along * SHADED, along) ** 2)


def _border(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "n 3"]:
    """Pixels of a frame a twentieth of the picture wide, some of them."""
    wide = max(2, min(image.shape[:2]) // 20)
    parts = (image[:wide], image[-wide:], image[wide:-wide, :wide], image[wide:-wide, -wide:])
    return np.concatenate([part[::2, ::2].reshape(-1, 3) for part in parts])


def _cut_out(
    image: UInt8[np.ndarray, "h w 3"], measure: Callable[[Part], _Measured], quiet: float
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Look for the person in every other row and column; then, closely, there."""
    alpha, colors = np.zeros(image.shape[:2], np.uint8), image.copy()
    _, distance = measure(EVERY_OTHER)
    person = _without_specks(distance > quiet, distance.size)
    spans = [np.flatnonzero(person.any(axis=axis)) for axis in (1, 0)]
    if not len(spans[0]):
        return colors, alpha
    rows, columns = (slice(max(0, 2 * int(s[0]) - MARGIN), 2 * int(s[-1]) + 1 + MARGIN) for s in spans)
    part = (rows, columns)
    known, distance = measure(part)
    person = _without_specks(distance > quiet, alpha.size)
    alpha[part], colors[part] = _soften(image[part], known, distance, person, quiet)
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


def _without_specks(person: Bool[np.ndarray, "h w"], whole: int) -> Bool[np.ndarray, "h w"]:
    """Without what is too small to be of the person in a picture of `whole` pixels, and without holes as small."""
    from scipy import ndimage

    pieces, count = ndimage.label(person)
    if not count:
        return person
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = sizes >= max(SPECK * whole, PIECE * sizes.max())
    person = kept[pieces]
    holes, _ = ndimage.label(~person)
    sizes = np.bincount(holes.ravel())
    small = sizes < SPECK * whole
    small[0] = False
    return person | small[holes]
