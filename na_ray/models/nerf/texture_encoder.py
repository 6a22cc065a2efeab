"""The texture encoder: ResNet-34 up to its third stage, as a pyramid of features of one texture map.

The state dict has torchvision's names (`conv1`, `bn1`, `layer1.0.conv1`, ...), so ImageNet weights load by name.
"""

import functools
import logging

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.models.pretrained.imagenet import load_weights

log = logging.getLogger(__name__)

BLOCKS = (3, 4, 6)
"""Residual blocks in ResNet-34's first three stages."""

UNUSED = ("layer4.", "fc.", "avgpool.")
"""Parts of a ResNet-34 that the NeRF never runs: ignored, by name, in files of weights."""


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalization and a shortcut (He et al. 2016, fig. 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential()
        if stride != 1 or channels_in != channels:
            shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 d i j"]:
        """The block's output; half the size where `stride` is 2."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = Block(channels_in, channels, stride)
    return nn.Sequential(first, *(Block(channels, channels, 1) for _ in range(blocks - 1)))


class TextureEncoder(nn.Module):
    """ResNet-34's stem and stages 1 to 3 with `width` channels at first (64: ResNet-34 itself).

    The four latents have `channels` = (w, w, 2w, 4w) channels at 1/2, 1/4, 1/8 and 1/16 of the texture's size.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.channels = (width, width, 2 * width, 4 * width)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, BLOCKS[0], 1)
        self.layer2 = _stage(width, 2 * width, BLOCKS[1], 2)
        self.layer3 = _stage(2 * width, 4 * width, BLOCKS[2], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, texture: Float[Tensor, "3 h w"]) -> list[Tensor]:
        """The four latents, each (1, c, h', w'), of a texture map with RGB in [0, 1] (no ImageNet normalization)."""
        x = texture[None].contiguous(memory_format=torch.channels_last)
        latents = [F.relu(self.bn1(self.conv1(x)))]
        x = F.max_pool2d(latents[0], 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
            latents.append(x)
        return latents


def resize_matrix(size: int, to: int, like: Tensor) -> Float[Tensor, "i k"]:
    """Linear interpolation from `size` to `to` points with the end points aligned, as a matrix, made once a size.

    In float32 at least, whatever `like` is: bfloat16 has eight bits, so that position 257 would become 256.
    """
    return _resize_matrix(size, to, torch.promote_types(like.dtype, torch.float32), like.device)


@functools.lru_cache(maxsize=64)
def _resize_matrix(size: int, to: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # kept: a training that comes later differentiates products with it
        position = torch.arange(to, dtype=dtype, device=device) * ((size - 1) / max(to - 1, 1))
        nodes = torch.arange(size, dtype=dtype, device=device)
        return (1 - (position[:, None] - nodes).abs()).clamp(min=0)


def lookup(features: Float[Tensor, "h w c"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    """Bilinear samples of a map whose first row is at v = 1 (as in the picture), zeros outside.

    Texel (r, c) has its center at u = (c + 0.5) / w, v = 1 - (r + 0.5) / h. The same as `grid_sample` of the map
    flipped vertically at 2 uv - 1 with `align_corners=False`, but a texel's channels are read in one piece: 5x faster
    on a CPU (`embedding_bag` gathers, weights and sums at once). No gradient flows into `uv`.
    """
    height, width, channels = features.shape
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    left, top = x.floor(), y.floor()
    rows, weights = [], []
    for column, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            rows.append((row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long())
            weights.append(weight_x * weight_y * inside)
    table = features.reshape(-1, channels)
    per_texel = torch.stack(weights, dim=1).to(table.dtype)
    return F.embedding_bag(torch.stack(rows, dim=1), table, per_sample_weights=per_texel, mode="sum")


def load_imagenet(encoder: TextureEncoder, path: str) -> None:
    """Load ImageNet weights of ResNet-34 (torchvision's names) from a file or an fsspec URL.

    Every tensor must match by name and shape, but for the parts that are never run (`fc`, `layer4`). An empty `path`
    keeps the random initialization; either way one line is logged. Raises UserError (or FileNotFoundError) with one
    line for a file that is absent, unreadable or does not match.
    """
    if not path:
        log.info("texture encoder: random initialization (nerf.encoder_weights names no ImageNet weights)")
        return
    load_weights(
        encoder,
        path,
        "torchvision's ResNet-34",
        unused=UNUSED,
        remedy="leave nerf.encoder_weights empty for random weights",
        sizes="nerf.encoder_width 64 is ResNet-34",
    )
    log.info("texture encoder: ImageNet weights from %s", path)
