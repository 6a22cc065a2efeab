"""A texture predictor small enough to run in milliseconds, and its checkpoint."""

from pathlib import Path

import torch

from na_ray import checkpoint
from na_ray.body.body import Body
from na_ray.capture.rig import Rig
from na_ray.checkpoint import Predictor
from na_ray.config import Experiment, override
from na_ray.models.vid2vid.generator import Generator

TINY = {
    "vid2vid.resolution": (32, 32),
    "vid2vid.num_filters": 2,
    "vid2vid.max_num_filters": 8,
    "vid2vid.num_layers": 3,
    "vid2vid.num_downsamples_img": 2,
    "vid2vid.embed_downsamples": 2,
    "vid2vid.latent_channels": 4,
    "vid2vid.flow_filters": 2,
    "vid2vid.flow_downsamples": 2,
    "vid2vid.flow_blocks": 1,
    "vid2vid.warp_layers": 1,
    "vid2vid.warp_downsamples": 2,
}


def tiny_predictor(rig: Rig, seed: int = 0, **knobs: object) -> Predictor:
    """Random weights, large enough that frames differ and depend on those before them."""
    torch.manual_seed(seed)
    config = override(Experiment(stages=("texture",)), TINY | {k.replace("__", "."): v for k, v in knobs.items()})
    generator = Generator(config.vid2vid, spectral=False)
    for weight in generator.parameters():
        if weight.dim() > 1:
            torch.nn.init.xavier_normal_(weight, 1.5)
    return Predictor(generator.eval().requires_grad_(False), Body.from_rig(rig), config)


def save_predictor(folder: Path, rig: Rig, seed: int = 0) -> Path:
    """The same as a checkpoint."""
    predictor = tiny_predictor(rig, seed)
    checkpoint.save(folder, "texture", predictor.generator.state_dict(), rig, predictor.config)
    return folder
