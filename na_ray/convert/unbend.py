"""Undo a lens in pictures: each pixel of the result is looked up where the lens shows it, by cubic interpolation.

The places are computed once a camera, in float64; only the part of a picture that is asked for is looked up.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from na_ray.config.values import UserError
from na_ray.convert.lens import Lens
from na_ray.convert.matte import Part

# The rows and columns of places that are looked at for the part of a picture in which something lies.
_COARSE = 8
# Pixels that interpolation sees beyond a place.
_REACH = 3
# A lens that folds over more than this share of the picture is no fit.
FOLDED = 0.02
# So is one by which most of the result lies off the picture: a fish eye's numbers, or a fit that ran away.
SEEN = 0.5


@dataclass(frozen=True, eq=False)
class Excerpt:
    """A part of the result, and the part of the source that shows it."""

    source: Part
    grid: Float[Tensor, "1 i j 2"]
    """Where its pixels lie in the source's part, as torch counts: -1 and 1 are its borders."""
    outside: Bool[np.ndarray, "i j"]

    def look_up(self, image: UInt8[np.ndarray, "h w c"], cubic: bool = True) -> UInt8[np.ndarray, "i j c"]:
        """The part of the result. What the source does not show is black."""
        part = np.ascontiguousarray(image[self.source])
        planes = torch.from_numpy(part).permute(2, 0, 1)[None].float()
        found = grid_sample(planes, self.grid, "bicubic" if cubic else "bilinear", "border", align_corners=False)[0]
        found = found.add_(0.5).clamp_(0, 255)
        pixels = np.empty((*self.outside.shape, image.shape[2]), np.uint8)
        for channel, plane in enumerate(found):  # three times as fast as torch's own change of order
            pixels[..., channel] = plane.numpy()
        pixels[self.outside] = 0
        return pixels


@dataclass(frozen=True, eq=False)
class Unbending:
    """What undoes one lens."""

    x: Float32[np.ndarray, "h w"]
    """Column of the source at which each pixel of the result lies."""
    y: Float32[np.ndarray, "h w"]
    """Row of the source."""
    outside: Bool[np.ndarray, "h w"]
    """Pixels of the result that the source does not show."""

    @classmethod
    def of(cls, lens: Lens, where: str) -> "Unbending":
        """Raises UserError, naming `where`, for a lens that folds in the picture."""
        x, y = np.moveaxis(lens.lookup(), 2, 0)
        folded = np.isnan(x)
        if folded.mean() > FOLDED:
            found = f"{where}: its lens folds over {100 * folded.mean():.0f} % of the picture"
            raise UserError(f"{found}: calibrate with fewer coefficients (k3 = 0), or with boards in the corners")
        with np.errstate(invalid="ignore"):
            seen = (x >= -0.5) & (x <= lens.width - 0.5) & (y >= -0.5) & (y <= lens.height - 0.5)
        if seen.mean() < SEEN:
            found = f"{where}: its lens fills but {100 * seen.mean():.0f} % of the picture"
            raise UserError(f"{found}: calibrate with fewer coefficients (k3 = 0), or with boards in the corners")
        middle = (lens.width // 2, lens.height // 2)
        x, y = (np.where(seen, n, m).astype(np.float32) for n, m in zip((x, y), middle, strict=True))
        return cls(x, y, ~seen)

    @cached_property
    def whole(self) -> Excerpt:
        """The whole picture."""
        return self.excerpt((slice(0, self.outside.shape[0]), slice(0, self.outside.shape[1])))

    def part_of(self, source: Part) -> Part | None:
        """Rows and columns of the result that may show a part of the source; None: there are none."""
        x, y = self.x[::_COARSE, ::_COARSE], self.y[::_COARSE, ::_COARSE]
        margin = 3 * _COARSE
        near = (x >= source[1].start - margin) & (x < source[1].stop + margin)
        near &= (y >= source[0].start - margin) & (y < source[0].stop + margin)
        near &= ~self.outside[::_COARSE, ::_COARSE]
        spans = [np.flatnonzero(near.any(axis=axis)) for axis in (1, 0)]
        if not len(spans[0]):
            return None
        first, last = [max(0, (s[0] - 1) * _COARSE) for s in spans], [(s[-1] + 2) * _COARSE for s in spans]
        height, width = self.outside.shape
        return slice(first[0], min(height, last[0])), slice(first[1], min(width, last[1]))

    def excerpt(self, part: Part) -> Excerpt:
        """A part of the result."""
        grid, source = np.empty((1, *self.outside[part].shape, 2), np.float32), []
        for axis, (places, length) in enumerate(zip((self.x, self.y), self.outside.shape[::-1], strict=True)):
            places = places[part]
            low = max(0, int(places.min()) - _REACH)
            high = min(length, int(places.max()) + 2 + _REACH)
            source.append(slice(low, high))
            grid[0, ..., axis] = (places - np.float32(low - 0.5)) * np.float32(2 / (high - low)) - np.float32(1)
        return Excerpt((source[1], source[0]), torch.from_numpy(grid), self.outside[part])
