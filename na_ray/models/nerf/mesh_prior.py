"""What `mesh_residual` starts from: the density and the colors of the posed mesh with its texture map.

Two of them exist. `surface` draws the textured mesh itself: a density that rises within `skin` of the surface, colors
looked up in the texture map as it is stored. `soft`, of version 0.1, is blurred: half a centimetre of skin, colors
averaged down to the feature map's size. A field that was trained on one of them means nothing on the other.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class MeshPrior:
    """Density by the signed distance from the posed mesh (m, + outside), and how fast training moves it."""

    skin: float
    """Distance (m) from the surface over which the density rises."""
    solid: float
    """Density inside, 1/m."""
    empty: float
    """The same outside: below zero, so nothing, but little enough for hair and skirts to be learned."""
    gain: float
    """Density (1/m) of one unit of the network's output."""

    def density(self, distance: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Density (1/m, negative where empty) at signed distances (m)."""
        depth = (distance / self.skin).clamp(-1, 1)
        return torch.where(depth < 0, -self.solid * depth, self.empty * depth)


SOFT = MeshPrior(skin=0.005, solid=200.0, empty=-5.0, gain=1.0)
"""Of version 0.1: a centimetre lets an eighth of the light through."""
SHARP = MeshPrior(skin=0.0005, solid=2000.0, empty=-1.0, gain=10.0)
"""For samples that lie by the surface: two millimetres let a fiftieth of the light through."""
