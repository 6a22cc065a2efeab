"""Embedders: one map in, conditioning maps at every resolution out."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.models.vid2vid.blocks import SLOPE, Convolution


class Embedder(nn.Module):
    """An encoder and a decoder of convolutions with leaky ReLUs, without normalization.

    `widths`: channels at 1/2^i of the size, i = 0 ... n; the encoder halves n times. `skips`: every step of the
    decoder but the first also sees the encoder's features at its own input's resolution (U-Net).
    """

    def __init__(self, channels_in: int, widths: Sequence[int], *, skips: bool, spectral: bool) -> None:
        super().__init__()
        self.skips = skips
        pairs = list(pairwise(widths))
        self.stem = Convolution(channels_in, widths[0], spectral=spectral)
        self.down = nn.ModuleList(Convolution(fine, coarse, stride=2, spectral=spectral) for fine, coarse in pairs)
        joined = [2 * coarse if skips and i < len(pairs) - 1 else coarse for i, (_, coarse) in enumerate(pairs)]
        steps = zip(joined, widths[:-1], strict=True)
        self.up = nn.ModuleList(Convolution(coarse, fine, spectral=spectral) for coarse, fine in steps)

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """n + 1 maps, level i (b, widths[i], h / 2^i, w / 2^i); the last is the encoder's bottleneck."""
        encoded = [F.leaky_relu(self.stem(x), SLOPE, inplace=True)]
        for layer in self.down:
            encoded.append(F.leaky_relu(layer(encoded[-1]), SLOPE, inplace=True))
        levels = [encoded[-1]]
        for i in reversed(range(len(self.up))):
            coarse = levels[0]
            if self.skips and i < len(self.up) - 1:
                coarse = torch.cat([coarse, encoded[i + 1]], dim=1)
            fine = self.up[i](F.interpolate(coarse, scale_factor=2.0))
            levels.insert(0, F.leaky_relu(fine, SLOPE, inplace=True))
        return levels
