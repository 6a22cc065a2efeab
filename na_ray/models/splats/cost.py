"""What a training step of the splats costs."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from na_ray.models.splats.splats import Splats


def step_multiply_adds(splats: Splats) -> int:
    """Multiply-adds of the decoder's forward pass for one frame; the pictures themselves cost less."""
    side = splats.config.side
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        splats.decoder(torch.zeros(1, 9, side, side, device=splats.device))
    return counter.get_total_flops() // 2
