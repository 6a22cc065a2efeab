"""Undo a lens in pictures: each pixel of the result is looked up where the lens shows it, by cubic interpolation.

The places are computed once a camera, in float64; only the part of a picture that is asked for is looked up.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch.nn.functional import grid_sample

from na_ray.config.values import UserError
from na_ray.convert.lens import Lens

# The rows and columns of places that are looked at for the part of a picture in which something lies.
_COARSE = 8
# Pixels that interpolation sees beyond a place.
_REACH = 3
# A lens that folds over more than this share of the picture is no fit.
FOLDED = 0.02

Box = tuple[slice, slice]
"""Rows and columns of a part of a picture."""


@dataclass(frozen=True, eq=False)
class Unbending:
    """What undoes one lens."""

    places: Float32[np.ndarray, "h w 2"]
    """Where each pixel of the result lies in the source, (x, y)."""
    outside: Bool[np.ndarray, "h w"]
    """Pixels of the result that the source does not show."""

    @classmethod
    def of(cls, lens: Lens, where: str) -> "Unbending":
        """Raises UserError, naming `where`, for a lens that folds in the picture."""
        places = lens.lookup()
        folded = np.isnan(places[..., 0])
        if folded.mean() > FOLDED:
            found = f"{where}: its lens folds over {100 * folded.mean():.0f} % of the picture"
            raise UserError(f"{found}: calibrate with fewer coefficients (k3 = 0), or with boards in the corners")
        x, y = places[..., 0], places[..., 1]
        with np.errstate(invalid="ignore"):
            seen = (x >= -0.5) & (x <= lens.width - 0.5) & (y >= -0.5) & (y <= lens.height - 0.5)
        x[:], y[:] = np.where(seen, x, 0), np.where(seen, y, 0)
        return cls(places.astype(np.float32), ~seen)

    @property
    def all(self) -> Box:
        """The whole picture."""
        return slice(0, self.outside.shape[0]), slice(0, self.outside.shape[1])

    def box_of(self, source: Box) -> Box | None:
        """Rows and columns of the result that may show a part of the source; None: there are none."""
        x, y = self.places[::_COARSE, ::_COARSE, 0], self.places[::_COARSE, ::_COARSE, 1]
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

    def look_up(self, image: UInt8[np.ndarray, "h w c"], box: Box, cubic: bool = True) -> UInt8[np.ndarray, "i j c"]:
        """A part of the result. What the source does not show is black."""
        places = self.places[box]
        low = np.maximum(places.min(axis=(0, 1)).astype(int) - _REACH, 0)
        high = places.max(axis=(0, 1)).astype(int) + 1 + _REACH
        part = image[low[1] : high[1] + 1, low[0] : high[0] + 1]
        planes = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)[None].float()
        size = np.array([part.shape[1], part.shape[0]], np.float32)
        grid = torch.from_numpy((2 * (places - low.astype(np.float32)) + 1) / size - 1)[None]
        mode = "bicubic" if cubic else "bilinear"
        found = grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=False)[0]
        pixels = (found + 0.5).clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        pixels[self.outside[box]] = 0
        return pixels
