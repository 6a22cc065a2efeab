"""Densities and colors along rays to what each ray sees. Nothing here knows a network.

Symbols: E_i = sigma_i delta_i, alpha_i = 1 - exp(-E_i), T_i = transmittance in front of sample i.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Composite:
    """What n rays see."""

    colors: Float[Tensor, "n 3"]
    """RGB in [-1, 1], background included."""
    depths: Float[Tensor, "n"]
    """Expected depth, m, background included."""
    transmittance: Float[Tensor, "n"]
    """Part of the light that passes: 1 - opacity."""


def composite(
    sigma: Float[Tensor, "n s"],
    colors: Float[Tensor, "n s 3"],
    depths: Float[Tensor, "n s"],
    deltas: Float[Tensor, "n s"],
    background: Float[Tensor, "3"],
    background_depth: float,
) -> Composite:
    """Emission-absorption (Max 1995; NeRF, eq. 3): p_i = alpha_i T_i with E_i = relu(sigma_i) delta_i.

    color = sum p_i c_i + T background and depth = sum p_i z_i + T background_depth, with the transmittance
    T = 1 - sum p_i.
    """
    energy = torch.relu(sigma) * deltas
    light = torch.exp(energy - energy.cumsum(dim=1))  # T_i
    weights = -torch.expm1(-energy) * light
    transmittance = 1 - weights.sum(dim=1)
    return Composite(
        colors=(weights[:, :, None] * colors).sum(dim=1) + transmittance[:, None] * background,
        depths=(weights * depths).sum(dim=1) + transmittance * background_depth,
        transmittance=transmittance,
    )
