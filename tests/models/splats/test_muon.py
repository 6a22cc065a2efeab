"""Muon against singular values in float64."""

import pytest
import torch
from torch import nn

from na_ray.models.splats.muon import COEFFICIENTS, LENGTH, MOMENTUM, TIMES, Muon, without_scales

SHAPES = [(48, 64, 3, 3), (64, 48, 1, 1), (48, 48, 3, 3), (5, 7, 1, 1), (40, 3, 1, 1)]


def reference(matrix: torch.Tensor) -> torch.Tensor:
    """U f(S / |S|) V^T, by the singular values."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm().clamp(min=1e-300)
    a, b, c = COEFFICIENTS
    for _ in range(TIMES):
        s = a * s + b * s**3 + c * s**5
    return u @ torch.diag(s) @ v


def matrices(spread: float = 4.0) -> list[torch.Tensor]:
    """Whose columns differ in length by that many powers of ten."""
    rng = torch.Generator().manual_seed(0)
    made = [torch.randn(shape[0], shape[1] * shape[2] * shape[3], generator=rng) for shape in SHAPES]
    return [m * 10 ** (-spread * torch.rand(m.shape[1], generator=rng)) for m in made]


def test_matrices_lose_their_scales() -> None:
    for given, found in zip(matrices(), without_scales(matrices()), strict=True):
        torch.testing.assert_close(found.double(), reference(given), rtol=0, atol=1e-3)
    for given, found in zip(matrices(0), without_scales([1e-4 * m for m in matrices(0)]), strict=True):
        torch.testing.assert_close(found.double(), reference(given), rtol=0, atol=1e-5)
        s = torch.linalg.svdvals(found)
        assert s.min() > 0.6 and s.max() < 1.3


def test_steps_follow_the_momentum() -> None:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    expected = [w.detach().double() for w in weights]
    momenta = [torch.zeros_like(w) for w in expected]
    muon = Muon(weights)
    for step in range(4):
        for i, w in enumerate(weights):
            gradient = torch.randn_like(w)
            w.grad = gradient.clone()
            momenta[i] = MOMENTUM * momenta[i] + (1 - MOMENTUM) * gradient
            ahead = (1 - MOMENTUM) * gradient + MOMENTUM * momenta[i]
            length = 0.01 * LENGTH * max(len(w), w[0].numel()) ** 0.5
            expected[i] = expected[i] - length * reference(ahead.flatten(1)).view_as(w)
        muon.step(0.01)
        assert all(w.grad is None for w in weights), step
    for w, e in zip(weights, expected, strict=True):
        torch.testing.assert_close(w.detach().double(), e, rtol=0, atol=1e-5)


def test_nothing_moves_without_gradients() -> None:
    weight = nn.Parameter(torch.ones(4, 6, 1, 1))
    muon = Muon([weight])
    muon.step(0.1)
    weight.grad = torch.zeros_like(weight)
    muon.step(0.1)
    assert torch.equal(weight, torch.ones_like(weight))


@pytest.mark.parametrize("rows", [3, 64])
def test_a_step_is_as_long_as_adam_s(rows: int) -> None:
    """A fifth of the learning rate in each entry, whatever the shape: f ends between 0.68 and 1.13."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(rows, 32, 3, 3))
    weight.grad = torch.randn_like(weight)
    Muon([weight]).step(1.0)
    assert weight.detach().square().mean().sqrt() == pytest.approx(LENGTH, rel=0.35)
