"""The network that corrects the Gaussians by pose and texture: a small U-Net over the UV atlas."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

UNSHUFFLE = 4
"""Side of the squares of texels that the network sees as one place."""
PLACE_CHANNELS = 8
"""Learned channels that tell the places apart."""


def places(side: int) -> Int[Tensor, "t"]:
    """Where the decoder's output has each texel of an atlas of that side, row by row."""
    flat = torch.arange(side**2).view(1, 1, side, side)
    return F.pixel_unshuffle(flat, UNSHUFFLE).flatten().argsort()


class Decoder(nn.Module):
    """(channels_in, s, s) to (channels_out, t = s * s), s a multiple of 16; zero before training.

    Squares of 4 x 4 texels become channels; then a 3 x 3 convolution at the largest level and two at the others, half
    the size at each level, and back with added skips; no normalization. Texels come out in the order of `places`, as
    the last layer makes them: who reads them by index need not wait for them to be put into rows.
    """

    def __init__(self, channels_in: int, channels_out: int, side: int, widths: Sequence[int]) -> None:
        super().__init__()
        square = UNSHUFFLE**2
        self.place = nn.Parameter(0.1 * torch.randn(1, PLACE_CHANNELS, side // UNSHUFFLE, side // UNSHUFFLE))
        self.gather = nn.Conv2d(channels_in * square + PLACE_CHANNELS, widths[0], 1)
        before = (widths[0], *widths)
        self.down = nn.ModuleList(_level(a, b, i > 0) for i, (a, b) in enumerate(zip(before, widths, strict=False)))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.merge = nn.ModuleList(_level(a, a, i > 0) for i, a in enumerate(widths[:-1]))
        self.out = nn.Conv2d(widths[0], channels_out * square, 1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "b i s s"]) -> Float[Tensor, "b o t"]:
        """A batch of frames."""
        batch, _, side, _ = x.shape
        x = F.pixel_unshuffle(x, UNSHUFFLE)
        x = _mix(self.gather, torch.cat([x, self.place.expand(batch, -1, -1, -1)], dim=1))
        skips = []
        for number, level in enumerate(self.down):
            x = level(F.avg_pool2d(x, 2) if number else x)
            skips.append(x)
        for skip, up, merge in reversed(list(zip(skips[:-1], self.up, self.merge, strict=True))):
            x = merge(skip + _mix(up, F.interpolate(x, scale_factor=2)))
        return _mix(self.out, x).reshape(batch, -1, side**2)


def _mix(layer: nn.Module, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
    """A convolution with one tap: a matrix product, which a CPU does faster when told so."""
    assert isinstance(layer, nn.Conv2d) and layer.bias is not None
    weight, bias = layer.weight[:, :, 0, 0].expand(len(x), -1, -1), layer.bias[:, None]
    return torch.baddbmm(bias, weight, x.flatten(2)).unflatten(2, x.shape[2:])


def _level(channels_in: int, channels_out: int, twice: bool) -> nn.Sequential:
    sizes = [(channels_in, channels_out), (channels_out, channels_out)][: 1 + twice]
    layers = ((nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)) for a, b in sizes)
    return nn.Sequential(*itertools.chain.from_iterable(layers))
