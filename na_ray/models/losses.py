"""What training minimizes."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.config import OptimConfig


def photometric(colors: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"]) -> Float[Tensor, ""]:
    """Mean over rays of the sum over RGB of squared differences, colors in [-1, 1]."""
    return (colors - target).square().sum(dim=1).mean()


def opacity_prior(transmittance: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of log(0.1 + a) + log(1.1 - a) - log 0.1 - log 1.1, a = 1 - transmittance: 0 at a = 0 and 1, else positive.

    Pushes rays to be either opaque or empty (Lombardi et al. 2019, Neural Volumes); it needs no mask. This is
    what the original's `--alpha-weight` names, where a test that is always false keeps it from acting.
    """
    opacity = (1 - transmittance).clamp(0, 1)
    return (torch.log(0.1 + opacity) + torch.log(1.1 - opacity) - math.log(0.1 * 1.1)).mean()


def total(
    colors: Float[Tensor, "n 3"], transmittance: Float[Tensor, "n"], target: Float[Tensor, "n 3"], config: OptimConfig
) -> Float[Tensor, ""]:
    """The weighted sum of the losses that `config` asks for."""
    loss = config.color_weight * photometric(colors, target)
    if config.alpha_weight > 0:
        loss = loss + config.alpha_weight * opacity_prior(transmittance)
    return loss
