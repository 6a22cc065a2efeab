"""The loss by a loop over windows in float64, its own gradient by finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor

from na_ray.models.splats.loss import picture_loss, pictures_loss, structural_similarity


def pictures(height: int, width: int, seed: int = 0, channels: int = 3) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shape = (1, channels, height, width)
    x = torch.rand(*shape, generator=rng, dtype=torch.float64)
    return x, (x + 0.3 * torch.randn(*shape, generator=rng, dtype=torch.float64)).clamp(0, 1)


def naive(x: np.ndarray, y: np.ndarray) -> float:
    """Mean SSIM of (c, h, w), window by window, biased variances."""
    values = []
    for channel in range(x.shape[0]):
        for row in range(x.shape[1] - 6):
            for column in range(x.shape[2] - 6):
                a, b = (p[channel, row : row + 7, column : column + 7].reshape(-1) for p in (x, y))
                ma, mb = a.mean(), b.mean()
                va, vb, ab = ((a - ma) ** 2).mean(), ((b - mb) ** 2).mean(), ((a - ma) * (b - mb)).mean()
                above = (2 * ma * mb + 1e-4) * (2 * ab + 9e-4)
                values.append(above / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(values))


@pytest.mark.parametrize("size", [(7, 7), (9, 12), (16, 8)])
def test_similarity_is_that_of_the_windows(size: tuple[int, int]) -> None:
    x, y = pictures(*size)
    assert structural_similarity(x, y).item() == pytest.approx(naive(x[0].numpy(), y[0].numpy()), rel=1e-9)
    assert structural_similarity(x, x).item() == pytest.approx(1, abs=1e-12)
    flat = torch.full_like(x, 0.4)
    assert structural_similarity(flat, y).item() == pytest.approx(naive(flat[0].numpy(), y[0].numpy()), rel=1e-9)


def test_its_gradient_is_that_of_finite_differences() -> None:
    x, y = pictures(9, 11, channels=2)
    assert torch.autograd.gradcheck(lambda a: structural_similarity(a, y), x.requires_grad_(), atol=1e-8, rtol=1e-5)


def test_in_float32_flat_pictures_have_finite_gradients() -> None:
    x = torch.full((1, 3, 16, 16), 0.999, requires_grad=True)
    structural_similarity(x, torch.ones(1, 3, 16, 16)).backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_the_loss_is_the_weighted_sum() -> None:
    x, y = (p[0].permute(1, 2, 0) for p in pictures(10, 12))
    difference = (x - y).numpy()
    similar = naive(x.permute(2, 0, 1).numpy(), y.permute(2, 0, 1).numpy())
    loss, squared = picture_loss(x, y, 1.5, 5.0, 0.2)
    expected = 1.5 * np.abs(difference).mean() + 5 * (difference**2).mean() + 0.2 * (1 - similar)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert squared.item() == pytest.approx((difference**2).mean(), rel=1e-9)
    small, _ = picture_loss(x[:6], y[:6], 1.5, 5.0, 0.2)
    difference = difference[:6]
    assert small.item() == pytest.approx(1.5 * np.abs(difference).mean() + 5 * (difference**2).mean(), rel=1e-9)


@pytest.mark.parametrize("size", [(7, 7), (6, 40), (40, 6), (23, 17)])
def test_a_part_of_a_float32_picture_has_the_loss_and_the_gradient_of_the_windows(size: tuple[int, int]) -> None:
    """What a CPU does in one pass, against float64 by autograd, whose parts the tests above hold."""
    height, width = size
    x, y = (p[0].permute(1, 2, 0) for p in pictures(height, width, seed=3))
    y[2, 3] = x[2, 3]  # where the absolute difference has no slope
    padded, target = torch.full((50, 60, 3), 7.0), torch.full((50, 60, 3), 9.0)
    padded[:height, :width], target[:height, :width] = x, y
    padded.requires_grad_()
    exact = x.float().double().requires_grad_()
    loss, squared = picture_loss(padded[:height, :width], target[:height, :width], 1.5, 5.0, 0.2)
    expected, expected_squared = picture_loss(exact, y.float().double(), 1.5, 5.0, 0.2)
    (3 * loss).backward()
    (3 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert squared.item() == pytest.approx(expected_squared.item(), rel=1e-6) and not squared.requires_grad
    assert padded.grad is not None and exact.grad is not None
    inside = padded.grad[:height, :width]
    assert (inside - exact.grad).abs().max() < 2e-6 * exact.grad.abs().max()
    assert not padded.grad[height:].any() and not padded.grad[:, width:].any()


def test_pictures_of_several_sizes_at_once_have_the_sum_of_their_losses() -> None:
    """Padded to one size, with anything beyond their windows: the way of a GPU. One is smaller than SSIM's window."""
    sizes = [(20, 31), (12, 40), (5, 9), (24, 7)]
    windows = torch.tensor([[3, 5, width, height] for height, width in sizes], dtype=torch.int32)
    padded, targets = torch.full((4, 24, 40, 3), 7.0).double(), torch.full((4, 24, 40, 3), 9.0).double()
    parts, expected, expected_squared = [], torch.zeros(()).double(), torch.zeros(()).double()
    for number, (height, width) in enumerate(sizes):
        x, y = (p[0].permute(1, 2, 0) for p in pictures(height, width, seed=number))
        padded[number, :height, :width], targets[number, :height, :width] = x, y
        parts.append(x.clone().requires_grad_())
        loss, squared = picture_loss(parts[-1], y, 1.5, 5.0, 0.2)
        expected, expected_squared = expected + loss, expected_squared + squared
    padded.requires_grad_()
    found, found_squared = pictures_loss(padded, targets, windows, 1.5, 5.0, 0.2)
    found.backward()
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found_squared.item() == pytest.approx(expected_squared.item(), rel=1e-6) and not found_squared.requires_grad
    assert padded.grad is not None
    for gradient, part, (height, width) in zip(padded.grad, parts, sizes, strict=True):
        assert part.grad is not None
        torch.testing.assert_close(gradient[:height, :width], part.grad, rtol=1e-6, atol=1e-12)
        assert gradient[height:].abs().max() == 0 if height < 24 else True
        assert gradient[:, width:].abs().max() == 0 if width < 40 else True
