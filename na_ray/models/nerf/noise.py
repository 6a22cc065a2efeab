"""The random numbers of a training step along its rays."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """What training randomizes, for n rays of k boundaries and s = k + 1 samples. None: not randomized."""

    jitter: Float[Tensor, "n k"] | None = None
    """Where each boundary lies in its stratum, in (0, 1)."""
    density: Float[Tensor, "n s"] | None = None
    """Added to the density of each sample, 1/m."""

    def of(self, rays: Int[Tensor, "m"]) -> "Noise":
        """The noise of some of the rays."""
        jitter = None if self.jitter is None else self.jitter[rays]
        return Noise(jitter, None if self.density is None else self.density[rays])
