import dataclasses

import pytest
import torch

from na_ray.config import OptimConfig
from na_ray.models import losses


def test_photometric_is_the_mean_over_rays_of_the_sum_over_colors():
    colors, target = torch.tensor([[1.0, 0, 0], [0, 0, 0]]), torch.tensor([[0.0, 0, 0], [0, 2, 2]])
    assert float(losses.photometric(colors, target)) == pytest.approx((1 + 8) / 2)


@pytest.mark.parametrize(("transmittance", "value"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1.18562)])
def test_opacity_prior_is_zero_for_opaque_and_for_empty_rays(transmittance, value):
    # 2 log 0.6 - log 0.11 = 1.18562
    assert float(losses.opacity_prior(torch.full((4,), transmittance))) == pytest.approx(value, abs=1e-5)


def test_total_weighs_what_is_asked_for():
    colors, transmittance, target = torch.rand(5, 3), torch.rand(5), torch.rand(5, 3)
    config = OptimConfig(color_weight=2.0)
    plain = losses.total(colors, transmittance, target, config)
    assert float(plain) == pytest.approx(2 * float(losses.photometric(colors, target)))
    with_prior = losses.total(colors, transmittance, target, dataclasses.replace(config, alpha_weight=0.5))
    assert float(with_prior - plain) == pytest.approx(0.5 * float(losses.opacity_prior(transmittance)), rel=1e-4)
