"""The counts of multiply-adds beside what torch counts, and beside the shapes of the original's weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from na_ray.config import DataConfig, NerfConfig
from na_ray.models.gemm import gemm_rate
from na_ray.models.nerf.cost import encoder_multiply_adds, field_multiply_adds, step_multiply_adds
from na_ray.models.nerf.field import RadianceField
from na_ray.models.nerf.texture_encoder import TextureEncoder

KEYS = Path(__file__).parents[1] / "data" / "parity" / "original_nerf_keys.json"


def test_a_sample_costs_a_multiply_add_a_weight() -> None:
    shapes = json.loads(KEYS.read_text())["model"]
    weights = [s for name, s in shapes.items() if name.endswith(".weight") and "texture_encoder" not in name]
    assert field_multiply_adds(NerfConfig()) == sum(int(np.prod(shape)) for shape in weights if len(shape) == 2)


@pytest.mark.parametrize(
    "config",
    [
        NerfConfig(hidden=32, encoder_width=8, deformation=False),
        NerfConfig(hidden=48, encoder_width=4, local_frequencies=3, position_frequencies=5, direction_frequencies=2),
    ],
)
def test_other_sizes_cost_a_multiply_add_a_weight(config: NerfConfig) -> None:
    with torch.device("meta"):
        field = RadianceField(config, TextureEncoder(config.encoder_width).channels)
    assert field_multiply_adds(config) == sum(p.numel() for p in field.parameters() if p.dim() == 2)


@pytest.mark.parametrize(("width", "side"), [(64, 512), (8, 64), (4, 32)])
def test_the_encoder_costs_what_torch_counts(width: int, side: int) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        TextureEncoder(width)(torch.zeros(3, side, side))
    assert encoder_multiply_adds(width, side) == counter.get_total_flops() // 2


def test_a_step_has_all_samples_of_its_rays_and_the_encoder_once() -> None:
    config, data = NerfConfig(samples_per_ray=9), DataConfig(rays_per_view=7, views_per_frame=3)
    expected = 7 * 3 * 10 * field_multiply_adds(config) + encoder_multiply_adds(64, 128)
    assert step_multiply_adds(config, data, 128) == expected


def test_the_rate_of_products_is_measured() -> None:
    assert 1e6 < gemm_rate(seconds=0.01) < 1e16
