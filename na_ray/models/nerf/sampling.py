"""Sampling along rays and compositing. Nothing here knows a network.

Symbols: K boundaries z_k on a ray between `near` and `far` (m); they enclose K + 1 intervals, whose mid-points are
the samples; u_k in (0, 1) is where boundary k lies in its stratum. E_i = free energy, alpha_i = 1 - exp(-E_i),
T_i = transmittance in front of sample i.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

JITTER_MARGIN = 1e-3
"""Boundaries keep this part of their stratum away from its ends, so that no interval is empty."""


@dataclass(frozen=True)
class Composite:
    """What n rays see."""

    colors: Float[Tensor, "n 3"]
    """RGB in [-1, 1], background included."""
    depths: Float[Tensor, "n"]
    """Expected depth, m, background included."""
    transmittance: Float[Tensor, "n"]
    """Part of the light that passes: 1 - opacity."""


def sample_along_rays(
    near: Float[Tensor, "n"], far: Float[Tensor, "n"], num_boundaries: int, jitter: Float[Tensor, "n k"] | None = None
) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
    """Depths (m) of the s = `num_boundaries` + 1 samples of every ray, and the deltas (m) of their intervals.

    z_k = near + (k + u_k) / K (far - near). `jitter` holds u_k; None: the strata's centers, so that the first and
    last interval are half as long as the others.
    """
    steps = torch.arange(num_boundaries, dtype=near.dtype, device=near.device)
    if jitter is None:
        fractions = (steps + 0.5)[None].expand(len(near), -1)
    else:
        fractions = steps + jitter.clamp(JITTER_MARGIN, 1 - JITTER_MARGIN)
    inner = near[:, None] + fractions / num_boundaries * (far - near)[:, None]
    bounds = torch.cat([near[:, None], inner, far[:, None]], dim=1)
    return (bounds[:, 1:] + bounds[:, :-1]) / 2, bounds[:, 1:] - bounds[:, :-1]


def composite(
    sigma: Float[Tensor, "n s"],
    colors: Float[Tensor, "n s 3"],
    depths: Float[Tensor, "n s"],
    deltas: Float[Tensor, "n s"],
    background: Float[Tensor, "3"],
    background_depth: float,
) -> Composite:
    """Emission-absorption (Max 1995; NeRF, eq. 3): p_i = alpha_i T_i with E_i = relu(sigma_i) length_i.

    color = sum p_i c_i + T background and depth = sum p_i z_i + T background_depth, with the transmittance
    T = 1 - sum p_i.
    """
    energy = torch.relu(sigma) * deltas
    transmittance = torch.exp(energy - energy.cumsum(dim=1))
    weights = -torch.expm1(-energy) * transmittance
    transmittance = 1 - weights.sum(dim=1)
    return Composite(
        colors=(weights[:, :, None] * colors).sum(dim=1) + transmittance[:, None] * background,
        depths=(weights * depths).sum(dim=1) + transmittance * background_depth,
        transmittance=transmittance,
    )
