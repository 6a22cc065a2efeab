import numpy as np
import pytest
import torch

from na_ray.models.nerf.compositing import composite
from na_ray.models.nerf.sampling import BACK, FRONT, sample_along_rays, sample_by_surface


def test_samples_are_mid_points_of_intervals_that_fill_the_ray():
    near, far = torch.tensor([1.0, 2.0]).double(), torch.tensor([2.0, 2.5]).double()
    depths, deltas = sample_along_rays(near, far, 4)
    np.testing.assert_allclose(depths[0], 1 + np.array([0.5, 2, 4, 6, 7.5]) / 8, atol=1e-15)
    np.testing.assert_allclose(deltas[0], np.array([1, 2, 2, 2, 1]) / 8, atol=1e-15)
    np.testing.assert_allclose(deltas.sum(1), far - near, atol=1e-15)


def test_jitter_keeps_the_order_and_leaves_no_interval_empty():
    jitter = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).double()
    _, deltas = sample_along_rays(torch.tensor([1.0]).double(), torch.tensor([2.0]).double(), 4, jitter)
    assert (deltas > 0).all()


def test_a_homogeneous_medium_attenuates_as_beer_lambert_says():
    sigma, length, n = 3.0, 0.7, 50
    depths, deltas = sample_along_rays(torch.zeros(1).double(), torch.full((1,), length).double(), n)
    full = torch.full((1, n + 1), sigma).double()
    colors = torch.full((1, n + 1, 3), 0.25).double()
    seen = composite(full, colors, depths, deltas, torch.ones(3).double(), 5.0)
    transmittance = np.exp(-sigma * length)
    np.testing.assert_allclose(seen.transmittance, [transmittance], atol=1e-14)
    np.testing.assert_allclose(seen.colors, np.full((1, 3), 0.25 * (1 - transmittance) + transmittance), atol=1e-14)


def test_compositing_is_the_recurrence():
    generator = torch.Generator().manual_seed(0)
    sigma = torch.randn(3, 7, generator=generator).double() * 20
    colors, deltas = (torch.rand(*size, generator=generator).double() for size in ((3, 7, 3), (3, 7)))
    depths, background = deltas.cumsum(1), torch.tensor([1.0, 0.5, -1.0]).double()
    seen = composite(sigma, colors, depths, deltas, background, 5.0)
    for ray in range(3):
        light, color, depth = 1.0, np.zeros(3), 0.0
        for i in range(7):
            alpha = 1 - np.exp(-max(float(sigma[ray, i]), 0) * float(deltas[ray, i]))
            color, depth = color + light * alpha * colors[ray, i].numpy(), depth + light * alpha * float(depths[ray, i])
            light *= 1 - alpha
        np.testing.assert_allclose(seen.colors[ray], color + light * background.numpy(), atol=1e-14)
        np.testing.assert_allclose([seen.depths[ray], seen.transmittance[ray]], [depth + light * 5, light], atol=1e-14)


def test_gradients_are_finite_at_extremes():
    sigma = torch.tensor([[0.0, 1e30, -1e30, 1e-30]], requires_grad=True)
    seen = composite(sigma, torch.ones(1, 4, 3), torch.ones(1, 4), torch.ones(1, 4), torch.zeros(3), 5.0)
    (seen.colors.sum() + seen.depths.sum() + seen.transmittance.sum()).backward()
    assert torch.isfinite(sigma.grad).all()
    assert torch.isfinite(seen.colors).all()


def test_early_samples_hide_later_ones():
    colors = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    seen = composite(torch.full((1, 2), 1e4), colors, torch.tensor([[1.0, 2.0]]), torch.ones(1, 2), torch.ones(3), 5.0)
    assert torch.allclose(seen.colors, colors[:, 0])
    assert torch.allclose(seen.depths, torch.ones(1))


def bounds_of(depths, deltas):
    """The boundaries that centers and deltas stand for, ends included."""
    return torch.cat([depths - deltas / 2, (depths + deltas / 2)[:, -1:]], dim=1)


@pytest.mark.parametrize("jittered", [False, True])
def test_guided_samples_crowd_about_the_hit_and_cover_the_ray(jittered):
    near, far, hit = torch.tensor(
        [[1.0, 1.0, 1.0, 1.5], [1.4, 1.4, 1.4, 1.6], [1.2, torch.inf, 1.001, 1.9]], dtype=torch.float64
    )
    jitter = torch.rand(4, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) if jittered else None
    depths, deltas = sample_by_surface(near, far, hit, 24, jitter)
    bounds = bounds_of(depths, deltas)
    assert depths.shape == (4, 25) and (deltas >= 0).all()
    np.testing.assert_allclose(bounds[:, 0], near)
    np.testing.assert_allclose(bounds[:, -1], far)
    # The first ray: eight strata before its hit, the hit itself, seven behind it, eight over the whole.
    inner = bounds[0, 1:-1].numpy()
    within = inner[(inner >= 1.2 - FRONT) & (inner <= 1.2 + BACK)]
    assert len(within) >= 16 and np.abs(within - 1.2).min() < 1e-12
    for first, last, count in ((1.2 - FRONT, 1.2, 8), (1.2 + 1e-9, 1.2 + BACK, 7)):
        for i in range(count):
            low, high = first + (last - first) * i / count, first + (last - first) * (i + 1) / count
            assert ((inner >= low) & (inner <= high)).any()
    assert np.diff(bounds[0].numpy()).max() < 0.4 / 8 * 2
    # A ray that meets no mesh keeps its uniform strata.
    uniform = sample_along_rays(near, far, 24, jitter)
    np.testing.assert_allclose(depths[1], uniform[0][1])
    np.testing.assert_allclose(deltas[1], uniform[1][1])
