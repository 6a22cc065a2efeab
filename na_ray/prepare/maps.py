"""Texture maps of frames from what their cameras see.

Symbols: n texels inside the charts, k cameras, M the reference (see `completion`).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from na_ray.body.atlas import Atlas
from na_ray.body.views import TexelViews
from na_ray.prepare.completion import Spreader

Mode = Literal["blended", "best"]
"""All views by their weights; or almost only the best one, sharper and with more seams."""

BEST = 4.0
"""The power of the weights in the mode `best`: a view of half the weight of the best counts a sixteenth."""
PRIOR = 0.01
"""What the filled-in color counts beside the views of a texel: those hardly seen fade into it."""
PADDING = 4
"""Texels around the charts that take the color of the nearest in a chart."""


def blend(
    views: TexelViews, gains: Float[Tensor, "k 3"] | None, mode: Mode
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """(mean color of the views, sum of their weights), each view's color multiplied by its camera's gain."""
    shares = views.weights
    total = shares.sum(0)
    if mode == "best":
        shares = (shares / shares.amax(0).clamp(min=1e-12)) ** BEST
    shares = shares / shares.sum(0).clamp(min=1e-12)
    colors = torch.zeros_like(views.colors[0])
    for k, seen in enumerate(views.colors):
        colors += shares[k][:, None] * (seen if gains is None else seen * gains[k])
    return colors, total


@dataclass(frozen=True, eq=False)
class Completer:
    """Fills what is not seen of a frame, by the reference."""

    reference: Float[Tensor, "n 3"]
    spreader: Spreader

    def complete(self, colors: Float[Tensor, "n 3"], weights: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """The colors, with M + r where they are unknown and a fading share of it where they are hardly known."""
        shading = self.spreader.spread(colors - self.reference, weights)
        prior = self.reference + shading
        share = (weights / (weights + PRIOR))[:, None]
        return share * colors + (1 - share) * prior


class MapPainter:
    """Turns the colors of texels into a map: charts padded, black elsewhere."""

    def __init__(self, atlas: Atlas, padding: int = PADDING):
        self.size = atlas.size
        inside = atlas.inside.cpu().numpy()
        number = np.cumsum(inside.ravel()).reshape(inside.shape) - 1
        distance, (row, column) = distance_transform_edt(~inside, return_indices=True)
        near = distance <= padding
        device = atlas.inside.device
        self._place: Bool[Tensor, "s s"] = torch.tensor(near, device=device)
        self._source: Int[Tensor, m] = torch.tensor(number[row, column][near], device=device)

    def paint(self, colors: Float[Tensor, "n 3"]) -> UInt8[Tensor, "s s 3"]:
        """The map of colors in [0, 1]."""
        texels = colors.mul(255).round_().clamp_(0, 255).to(torch.uint8)
        result = torch.zeros(self.size, self.size, 3, dtype=torch.uint8, device=colors.device)
        result[self._place] = texels[self._source]
        return result
