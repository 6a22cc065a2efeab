"""Optical flow from the previous frame: the network that predicts it, and the warp.

A flow is in pixels, channel 0 to the right, channel 1 down; pixel centers lie at integers:
warped(x, y) = image(x + flow_x, y + flow_y).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.config.texture import Vid2vidConfig
from na_ray.models.vid2vid.blocks import ConvBlock, Convolution


def warp(image: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """The image where the flow (pixels) points: bilinear, positions clamped to the border."""
    height, width = image.shape[2:]
    # Positions in the image's precision: a bfloat16 counts whole pixels from 256 on.
    flow = flow.to(image.dtype)
    # The original's order of operations: at whole pixels, rounding decides which side's slope is the gradient.
    x = torch.linspace(-1, 1, width, dtype=image.dtype, device=image.device) + flow[:, 0] / (max(width - 1, 1) / 2)
    y = torch.linspace(-1, 1, height, dtype=image.dtype, device=image.device)
    grid = torch.stack([x, y[:, None] + flow[:, 1] / (max(height - 1, 1) / 2)], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


class FlowBlock(nn.Module):
    """Residual block: conv, instance norm, leaky ReLU, conv, instance norm; nothing after the sum."""

    def __init__(self, channels: int, spectral: bool) -> None:
        super().__init__()
        self.first = ConvBlock(Convolution(channels, channels, spectral=spectral), norm=True)
        self.second = ConvBlock(Convolution(channels, channels, spectral=spectral), norm=True, activate=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The block's output."""
        return x + self.second(self.first(x))


def _encoder(channels_in: int, widths: list[int], spectral: bool) -> nn.Sequential:
    blocks = [ConvBlock(Convolution(channels_in, widths[0], spectral=spectral), norm=True)]
    for fine, coarse in pairwise(widths):
        blocks.append(ConvBlock(Convolution(fine, coarse, stride=2, spectral=spectral), norm=True))
    return nn.Sequential(*blocks)


def _decoder(widths: list[int], spectral: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fine, coarse in reversed(list(pairwise(widths))):
        block = ConvBlock(Convolution(coarse, fine, spectral=spectral), norm=True)
        layers += [nn.Upsample(scale_factor=2.0), block]
    return nn.Sequential(*layers)


class FlowNetwork(nn.Module):
    """Predicts flow and occlusion mask of a frame from three label maps and the two images before it."""

    def __init__(self, config: Vid2vidConfig, spectral: bool = True) -> None:
        super().__init__()
        most = config.max_num_filters
        widths = [min(most, config.flow_filters * 2**i) for i in range(config.flow_downsamples + 1)]
        self.scale = config.flow_scale
        self.labels = _encoder(9, widths, spectral)
        self.images = _encoder(6, widths, spectral)
        self.blocks = nn.Sequential(*(FlowBlock(widths[-1], spectral) for _ in range(config.flow_blocks)))
        self.up = _decoder(widths, spectral)
        self.flow_head = Convolution(widths[0], 2, spectral=False)
        self.mask_head = Convolution(widths[0], 1, spectral=False)

    def forward(
        self, labels: Float[Tensor, "b 9 h w"], images: Float[Tensor, "b 6 h w"]
    ) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b 1 h w"]]:
        """Flow (pixels) into the latest image and mask (1: don't trust the warp), from maps oldest first."""
        x = self.up(self.blocks(self.labels(labels) + self.images(images)))
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(images.dtype)
            return self.scale * self.flow_head(x), torch.sigmoid(self.mask_head(x))
