"""Turns of a posed body's joints, differentiable.

Symbols: A_j = `joints_RT[j]`, r_j joint j at rest, p_j = A_j r_j, D_j what turns do to all that hangs on joint j:
D_j = D_parent o (turn by d_j about p_j). Turns are axis-angle, rad, in normalized axes.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rotations(turns: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3 3"]:
    """Rotation matrices of axis-angles (Rodrigues' formula): I + sin(a) / a K + (1 - cos(a)) / a^2 K^2."""
    x, y, z = turns.unbind(-1)
    none = torch.zeros_like(x)
    K = torch.stack([none, -z, y, z, none, -x, -y, x, none], dim=-1).unflatten(-1, (3, 3))
    # The square root has a slope at zero, too.
    angle = (turns.square().sum(-1) + 1e-30).sqrt()[..., None, None] / math.pi
    return torch.eye(3).to(turns) + torch.sinc(angle) * K + 0.5 * torch.sinc(angle / 2).square() * (K @ K)


def displacements(
    joints_RT: Float[Tensor, "j 4 4"],
    rest: Float[Tensor, "j 3"],
    parents: Int[Tensor, "j"],
    turns: Float[Tensor, "j 3"],
) -> Float[Tensor, "j 4 4"]:
    """D_j of every joint. `parents`: -1 for a root; a parent may come after its child."""
    count = len(turns)
    places = (joints_RT[:, :3, :3] @ rest[..., None])[..., 0] + joints_RT[:, :3, 3]
    R = rotations(turns)
    moved = torch.cat([R, (places - (R @ places[..., None])[..., 0])[..., None]], dim=2)
    last = torch.eye(4).to(moved)
    D = torch.cat([moved, last[3:].expand(count, 1, 4)], dim=1)
    # Twice as many of a joint's ancestors each time; the roots hang on one more that does nothing.
    D = torch.cat([D, last[None]])
    above = torch.cat([torch.where(parents < 0, count, parents), parents.new_full((1,), count)])
    for _ in range(count.bit_length()):
        D, above = D[above] @ D, above[above]
    return D[:count]
