"""Muon (Jordan et al. 2024): a network's matrices move by the matrix without scales that is nearest to their momentum.

Where Adam scales each weight's step by that weight's own gradients, Muon gives all directions of a matrix steps of one
length, the rare ones too: half a decibel more on held-out cameras after as many steps of the decoder (docs/log.md).
`torch.optim.Muon` takes no convolutions, and computes in bfloat16: twenty times slower on a CPU that lacks it.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of the polynomial a s + b s^3 + c s^5 that brings singular values close to 1 (Jordan et al. 2024)."""
TIMES = 5
"""How often the polynomial is applied."""
LENGTH = 0.2
"""Root mean square of a step's entries, in learning rates: as long as Adam's steps are (Liu et al. 2025)."""


class Muon:
    """Updates matrices, and convolutions as matrices (channels out, channels in x taps)."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = list(weights)
        self.momenta = [torch.zeros_like(w) for w in self.weights]

    @torch.no_grad()
    def step(self, lr: float | Float[Tensor, ""]) -> None:
        """Use the gradients up."""
        gradients = [w.grad if w.grad is not None else torch.zeros_like(w) for w in self.weights]
        torch._foreach_lerp_(self.momenta, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, self.momenta, MOMENTUM)  # Nesterov's
        for weight, direction in zip(self.weights, without_scales([g.flatten(1) for g in ahead]), strict=True):
            length = LENGTH * max(direction.shape) ** 0.5
            weight.sub_(direction.view_as(weight) * lr, alpha=length)
            weight.grad = None


def without_scales(matrices: Sequence[Float[Tensor, "_ _"]]) -> list[Float[Tensor, "_ _"]]:
    """U f(S / |S|) V^T for each matrix U S V^T, where f, the polynomial applied `TIMES` times, is close to 1.

    f is applied to the Gram matrix of the shorter side: all products but two are of that side alone, and matrices that
    share it are multiplied together.
    """
    flat = [m if m.shape[0] <= m.shape[1] else m.T for m in matrices]
    alike: dict[int, list[int]] = defaultdict(list)
    for number, matrix in enumerate(flat):
        alike[len(matrix)].append(number)
    found = list(flat)
    for numbers in alike.values():
        grams = torch.stack([flat[i] @ flat[i].T for i in numbers])
        squares = grams.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-30)[:, None, None]
        factors = _factors(grams / squares) / squares.sqrt()
        for i, factor in zip(numbers, factors, strict=True):
            found[i] = factor @ flat[i]
    return [f if m.shape == f.shape else f.T for m, f in zip(matrices, found, strict=True)]


def _factors(gram: Float[Tensor, "k n n"]) -> Float[Tensor, "k n n"]:
    """What f multiplies a matrix by, on the left, for its Gram matrix: a polynomial of it."""
    a, b, c = COEFFICIENTS
    identity = a * torch.eye(gram.shape[1], device=gram.device)
    factor = torch.baddbmm(identity + b * gram, gram, gram, alpha=c)
    found = factor
    for _ in range(TIMES - 1):
        gram = factor @ gram @ factor
        factor = torch.baddbmm(identity + b * gram, gram, gram, alpha=c)
        found = factor @ found
    return found
