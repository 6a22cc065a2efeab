"""Positional encoding: coordinates as sines and cosines of octaves (NeRF, eq. 4)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PositionalEncoding(nn.Module):
    """Encode each of D coordinates x as [sin(f_0 x) .. sin(f_L-1 x), cos(f_0 x) .. cos(f_L-1 x)], then append x.

    f_k = `scale` 2^k. The frequencies are a buffer, so that a checkpoint carries the very numbers it was trained with
    (the original computes them as exp(k ln 2) in float32, which differs in the last bit).
    """

    frequencies: Tensor

    def __init__(self, num_frequencies: int, scale: float = 1.0) -> None:
        super().__init__()
        octaves = torch.exp(torch.arange(num_frequencies, dtype=torch.float32) * math.log(2.0))
        self.register_buffer("frequencies", octaves * scale)

    def size(self, dimensions: int = 3) -> int:
        """Length of the encoding of a vector of `dimensions` coordinates."""
        return dimensions * (2 * len(self.frequencies) + 1)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n e"]:
        """The encodings of n vectors, coordinate by coordinate, with the vectors themselves at the end."""
        angles = x[:, :, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], dim=2)
        return torch.cat([waves.flatten(1), x], dim=1)
