"""Gains that make the cameras of a capture agree in color: one a camera and channel.

Symbols: k cameras, t texels of some frames, y_kt = log of camera k's color of texel t, w_kt the view's weight.
The log gains g minimize sum_kt w_kt (y_kt + g_k - a_t)^2 over g and the texels' own colors a, with sum_k g_k = 0.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.body.views import TexelViews

DARKEST, BRIGHTEST = 0.04, 0.96
"""Colors beyond these are noise, or cut off: a gain does not explain them."""
LEAST_WEIGHT = 0.02
"""TexelViews that count less are not compared."""
OUTLIER = 0.1
"""A difference in log color beyond this is a highlight or another surface rather than a gain."""
ROUNDS = 6
"""Of weighing the outliers down."""
TEXELS = 30_000
"""About so many are compared, spread over the frames."""
AGREED = 0.03
"""Cameras whose gains are all this close to one agree: highlights and shading differ by as much."""


def solve_gains(frames: Sequence[TexelViews]) -> Float[Tensor, "k 3"]:
    """The gains, in float64. 1 for a camera that shares no texels with others."""
    step = max(1, len(frames) * frames[0].weights.shape[1] // TEXELS)
    colors = torch.cat([views.colors[:, ::step] for views in frames], dim=1).double()
    weights = torch.cat([views.weights[:, ::step] for views in frames], dim=1).double()
    gains = torch.ones(len(colors), 3, dtype=torch.float64, device=colors.device)
    for channel in range(3):
        gains[:, channel] = _solve(colors[..., channel], weights)
    return gains


def _solve(colors: Float[Tensor, "k t"], weights: Float[Tensor, "k t"]) -> Float[Tensor, "k"]:
    usable = (weights >= LEAST_WEIGHT) & (colors > DARKEST) & (colors < BRIGHTEST)
    # A texel that a single camera sees compares nothing.
    common = usable.sum(0) > 1
    logs, base = colors[:, common].clamp(min=1e-6).log(), (weights * usable)[:, common]
    log_gains = torch.zeros(len(colors), dtype=colors.dtype, device=colors.device)
    robust = base
    for _ in range(ROUNDS):
        log_gains = _normal_equations(logs, robust)
        corrected = logs + log_gains[:, None]
        mean = (robust * corrected).sum(0) / robust.sum(0).clamp(min=1e-12)
        robust = base / (1 + ((corrected - mean) / OUTLIER) ** 2) ** 2
    return log_gains.exp()


def _normal_equations(logs: Float[Tensor, "k t"], weights: Float[Tensor, "k t"]) -> Float[Tensor, "k"]:
    """The least-squares log gains, those of least norm: their mean is zero where all cameras hang together."""
    total = weights.sum(0).clamp(min=1e-12)
    mean = (weights * logs).sum(0) / total
    matrix = torch.diag(weights.sum(1)) - (weights / total) @ weights.T
    right = -(weights * (logs - mean)).sum(1)
    return torch.linalg.pinv(matrix, rtol=1e-9, hermitian=True) @ right


def agree(gains: Float[Tensor, "k 3"]) -> bool:
    """Whether the cameras need no gains."""
    return float((gains - 1).abs().max()) <= AGREED


def gain_lines(gains: Float[Tensor, "k 3"], cameras: Sequence[int]) -> list[str]:
    """What to tell the user: whether the cameras agree, and the gains of those that are off."""
    worst = 100 * float((gains - 1).abs().max())
    if agree(gains):
        return [f"the cameras agree in color: gains within {worst:.1f} % of one, left at one"]
    rows = [(c, row) for c, row in zip(cameras, gains.tolist(), strict=True) if max(abs(g - 1) for g in row) > AGREED]
    told = "; ".join(f"camera {c}: {', '.join(f'{g:.2f}' for g in row)}" for c, row in rows)
    return [f"gains of red, green, blue that make the cameras agree: {told}; others within {100 * AGREED:.0f} % of one"]
