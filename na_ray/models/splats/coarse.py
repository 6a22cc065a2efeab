"""What neighboring texels share: maps of a coarser atlas, bilinear in between.

A texel that training hardly saw follows its surroundings, which training saw.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Coarse(nn.Module):
    """Maps of `channels` numbers on a grid `factor` times as coarse as the atlas; zero before training."""

    down: Tensor
    up: Tensor

    def __init__(self, channels: int, index: Int[Tensor, "n"], side: int, factor: int) -> None:
        """`index`: the texels, row by row in an atlas of `side`, at which the maps are looked up."""
        super().__init__()
        small = max(1, side // factor)
        self.values = nn.Parameter(torch.zeros(small**2, channels))
        up = _bilinear(index.long(), side, small)
        self.register_buffer("up", up, persistent=False)
        self.register_buffer("down", up.t().coalesce(), persistent=False)

    def forward(self) -> Float[Tensor, "c n"]:
        """The maps' values at the texels."""
        return _Product.apply(self.values, self.up, self.down).T.contiguous()


class _Product(torch.autograd.Function):
    """A sparse matrix that never changes times a dense one; its transpose is at hand for the way back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose
        return matrix @ values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transpose @ grad, None, None


def _bilinear(index: Int[Tensor, "n"], side: int, small: int) -> Tensor:
    """(n, small^2) weights in rows: of the four coarse texels around each texel's center, the border's repeated."""
    rows, columns, weights = [], [], []
    centers = (torch.stack([index // side, index % side]) + 0.5) * (small / side) - 0.5
    low = centers.floor()
    share = centers - low
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = ((low[axis] + d).clamp(0, small - 1).long() for axis, d in ((0, dy), (1, dx)))
            rows.append(torch.arange(len(index)))
            columns.append(y * small + x)
            weights.append((share[0] if dy else 1 - share[0]) * (share[1] if dx else 1 - share[1]))
    places = torch.stack([torch.cat(rows), torch.cat(columns)])
    size = (len(index), small**2)
    return torch.sparse_coo_tensor(places, torch.cat(weights), size).coalesce()
