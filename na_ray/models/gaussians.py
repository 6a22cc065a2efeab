"""Gaussians in space: what splats are, for those that draw them, and for other programs."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """n Gaussians of one frame, relative to an origin."""

    means: Float[Tensor, "n 3"]
    """Centers, m."""
    factors: Float[Tensor, "n 3 3"]
    """M: the covariance is M M^T, m^2."""
    opacities: Float[Tensor, "n"]
    """Greatest alpha of each."""
    colors: Float[Tensor, "n 3"]
    """RGB, nominally in [0, 1], seen along the mean direction."""
    frames: Float[Tensor, "n 3 3"]
    """Local axes as columns, in which `changes` are given."""
    changes: Float[Tensor, "9 n"]
    """The color along the unit direction d (local) is colors + 0.1 C d, C by rows."""
