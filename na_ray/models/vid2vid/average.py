"""The running average of the generator, which predicts: less noisy than the weights of any one step."""

import torch
from torch import Tensor, nn

from na_ray.models.vid2vid.blocks import folded


class Average:
    """Exponential moving average of a generator whose spectral norms are folded into its weights.

    average <- beta average + (1 - beta) current, with beta = 0 (a plain copy) for the first `start` updates.
    """

    def __init__(self, generator: nn.Module, beta: float, start: int) -> None:
        self.beta, self.start, self.updates = beta, start, 0
        self.weights: dict[str, Tensor] = folded(generator)

    @torch.no_grad()
    def update(self, generator: nn.Module) -> None:
        """Take in the generator's weights of now, with the u and v that its last forward pass left."""
        self.updates += 1
        current = folded(generator)
        if self.updates <= self.start:
            self.weights = current
            return
        for name, value in self.weights.items():
            value.lerp_(current[name], 1 - self.beta)

    def load(self, weights: dict[str, Tensor], updates: int) -> None:
        """Go on from the weights of an average after so many updates."""
        self.updates = updates
        for name, value in self.weights.items():
            value.copy_(weights[name])
