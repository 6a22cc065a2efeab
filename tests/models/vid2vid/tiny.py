"""The smallest texture predictor that has every part, and the original's numbers."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from na_ray.config import Vid2vidConfig

DATA = np.load(Path(__file__).parents[2] / "data" / "parity" / "vid2vid.npz")

CONFIG = Vid2vidConfig(
    resolution=(32, 64),
    num_filters=2,
    max_num_filters=6,
    num_layers=4,
    num_downsamples_img=3,
    embed_downsamples=2,
    latent_channels=3,
    flow_filters=2,
    flow_downsamples=2,
    flow_blocks=1,
    warp_layers=2,
    warp_downsamples=3,
    image_filters=2,
    image_layers=2,
    temporal_filters=2,
    temporal_scales=2,
    temporal_subscales=2,
    temporal_layers=1,
    max_discriminator_filters=8,
)
"""Maps are not square, on purpose."""


def tensor(name: str) -> Tensor:
    """One of the original's arrays, float64."""
    return torch.tensor(DATA[name], dtype=torch.float64)


def maps(name: str) -> Tensor:
    """Maps that are stored as bytes, in [-1, 1]."""
    floats = (DATA[name].astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return torch.tensor(floats, dtype=torch.float64)


def enliven(network: nn.Module) -> nn.Module:
    """Weights so large that outputs depend on all inputs, and biases too."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_normal_(parameter, 1.5)
        else:
            nn.init.normal_(parameter, std=0.3)
    return network


def window(frames: int, batch: int = 1, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Random maps (b, t, 3, h, w) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, frames, 3, *CONFIG.resolution, generator=generator, dtype=dtype) * 2 - 1
