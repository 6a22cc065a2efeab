"""What neighboring texels share: maps of a coarser atlas, bilinear in between.

A texel that training hardly saw follows its surroundings, which training saw.
"""

from typing import Any, no_type_check

import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from na_ray.body import kernels

CHANNELS = 16
"""Numbers at each place of the coarse maps."""

Sixteen = wp.types.vector(CHANNELS, wp.float32)


@wp.kernel(enable_backward=False)
@no_type_check
def look_up(
    values: wp.array[Sixteen], taps: wp.array2d[wp.int32], shares: wp.array2d[wp.float32], found: wp.array[Sixteen]
) -> None:
    """The weighted sum of four coarse places for each texel."""
    i = wp.tid()
    found[i] = (
        shares[i, 0] * values[taps[i, 0]]
        + shares[i, 1] * values[taps[i, 1]]
        + shares[i, 2] * values[taps[i, 2]]
        + shares[i, 3] * values[taps[i, 3]]
    )


@wp.kernel(enable_backward=False)
@no_type_check
def look_up_back(
    starts: wp.array[wp.int32],
    members: wp.array[wp.int32],
    shares: wp.array[wp.float32],
    grad: wp.array[Sixteen],
    found: wp.array[Sixteen],
) -> None:
    """The gradient of each coarse place, summed over the texels that look it up, in a fixed order."""
    j = wp.tid()
    total = Sixteen()
    for place in range(starts[j], starts[j + 1]):
        total = total + shares[place] * grad[members[place]]
    found[j] = total


class Coarse(nn.Module):
    """Maps of 16 numbers on a grid `factor` times as coarse as the atlas; zero before training."""

    taps: Tensor
    shares: Tensor
    starts: Tensor
    members: Tensor
    members_shares: Tensor

    def __init__(self, index: Int[Tensor, "n"], side: int, factor: int) -> None:
        """`index`: the texels, row by row in an atlas of `side`, at which the maps are looked up."""
        super().__init__()
        small = max(1, side // factor)
        self.values = nn.Parameter(torch.zeros(small**2, CHANNELS))
        taps, shares = _bilinear(index.long(), side, small)
        ordered, order = taps.view(-1).sort(stable=True)
        starts = torch.searchsorted(ordered, torch.arange(small**2 + 1))
        tables = {"taps": taps.int(), "starts": starts.int(), "members": (order // 4).int(), "shares": shares}
        tables["members_shares"] = shares.view(-1)[order]
        for name, table in tables.items():
            self.register_buffer(name, table.contiguous(), persistent=False)

    def forward(self) -> Float[Tensor, "16 n"]:
        """The maps' values at the texels."""
        return _LookUp.apply(self.values, self).T


class _LookUp(torch.autograd.Function):
    """`look_up` for autograd."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, coarse: Coarse) -> Tensor:
        ctx.coarse, n = coarse, len(coarse.taps)
        found = values.new_empty(n, CHANNELS)
        with kernels.on_device(values.device) as name:
            inputs = [_rows(values.detach()), kernels.as_array(coarse.taps), kernels.as_array(coarse.shares)]
            wp.launch(look_up, n, inputs, [_rows(found)], device=name)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        coarse = ctx.coarse
        found = torch.empty_like(coarse.values.detach())
        with kernels.on_device(grad.device) as name:
            inputs = [kernels.as_array(t) for t in (coarse.starts, coarse.members, coarse.members_shares)]
            wp.launch(look_up_back, len(found), [*inputs, _rows(grad.contiguous())], [_rows(found)], device=name)
        return found, None


def _rows(tensor: Float[Tensor, "n 16"]) -> Any:
    return kernels.as_array(tensor, dtype=Sixteen)


def _bilinear(index: Int[Tensor, "n"], side: int, small: int) -> tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]]:
    """The four coarse texels around each texel's center and their weights; the border's are repeated."""
    centers = (torch.stack([index // side, index % side]) + 0.5) * (small / side) - 0.5
    low = centers.floor()
    share = centers - low
    taps, shares = [], []
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = ((low[axis] + d).clamp(0, small - 1).long() for axis, d in ((0, dy), (1, dx)))
            taps.append(y * small + x)
            shares.append((share[0] if dy else 1 - share[0]) * (share[1] if dx else 1 - share[1]))
    return torch.stack(taps, dim=1), torch.stack(shares, dim=1)
