"""One frame of the radiance field: a pose and a texture map, made ready for rays."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.body.surface import Surface

CHUNK = {False: 8192, True: 262_144}
"""Samples evaluated at once, on a GPU (True) or not, where `samples_per_chunk` does not say."""


@dataclass(frozen=True, eq=False)
class FittedBody:
    """A pose, made ready for queries."""

    posed: PosedBody
    surface: Surface
    """Fitted to the pose, and nobody else's."""
    transforms: Float[Tensor, "v 25"]


@dataclass(frozen=True, eq=False)
class NerfFrame:
    """All that the NeRF knows of a frame (`avatar.Frame`). It belongs to the weights of the moment."""

    fitted: FittedBody
    features: Float[Tensor, "i j d"]
    """The texture's share of the field's first layers, per texel of half the encoder's map."""
    rgb: Float[Tensor, "3 h w"] | None
    """The texture map as it is stored, in [0, 1], where the field starts from it."""

    @property
    def posed(self) -> PosedBody:
        """The body at the frame's pose."""
        return self.fitted.posed


@dataclass(frozen=True)
class Samples:
    """The m samples that the field evaluates."""

    index: Int[Tensor, "m"]
    """Position among all samples, ray by ray."""
    surface: Float[Tensor, "m 3"]
    uv: Float[Tensor, "m 2"]
    position: Float[Tensor, "m 3"]
