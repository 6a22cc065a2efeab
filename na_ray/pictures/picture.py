"""Pictures: colors for depths and normals, sheets with labels, and PNG files.

Decoded pictures are uint8 arrays (height, width, 3 or 4); computed ones are float tensors (height, width, 3) in [0, 1].
Pixel centers lie at integer coordinates; camera axes are OpenCV's (x right, y down, z forward).
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

# Nine points of matplotlib's viridis (CC0), dark to bright: equal steps look equally far apart.
_VIRIDIS = (0x440154, 0x472D7B, 0x3B528B, 0x2C728E, 0x21918C, 0x28AE80, 0x5EC962, 0xADDC30, 0xFDE725)


def to_uint8(picture: Float[Tensor, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Round [0, 1] to 8 bits, half up (parity page, section 5)."""
    return (picture.detach().clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8).cpu().numpy()


def depth_colors(
    depth: Float[Tensor, "h w"], transmittance: Float[Tensor, "h w"], near: float, far: float
) -> Float[Tensor, "h w 3"]:
    """Depths (m) as colors, bright (`near`) to dark (`far`); white where the ray saw nothing."""
    table = torch.tensor([[c >> 16, (c >> 8) & 255, c & 255] for c in _VIRIDIS], device=depth.device) / 255
    nearness = ((far - depth) / max(far - near, 1e-6)).clamp(0, 1).float() * (len(table) - 1)
    low = nearness.long().clamp(max=len(table) - 2)
    part = (nearness - low)[..., None]
    colors = table[low] * (1 - part) + table[low + 1] * part
    return torch.where(transmittance[..., None] < 0.5, colors, torch.ones_like(colors))


def normal_colors(normals: Float[Tensor, "h w 3"], transmittance: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
    """Normals of `Picture` in the usual colors: red = right, green = up, blue = towards the viewer."""
    flip = torch.tensor([-1.0, 1.0, 1.0], device=normals.device)
    colors = (normals.float() * flip / 2 + 0.5).clamp(0, 1)
    seen = (transmittance < 0.5) & (normals.abs().sum(-1) > 0)
    return torch.where(seen[..., None], colors, torch.ones_like(colors))


def labeled(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture with a strip of text above it."""
    strip = Image.new("RGB", (picture.shape[1], 16), "white")
    ImageDraw.Draw(strip).text((3, 2), text, fill="black")
    return np.concatenate([np.asarray(strip), picture[..., :3]])


def sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Pictures (h, w, 3) uint8 in rows of `columns`, each in a cell of the largest one's size, on white."""
    height = max(p.shape[0] for p in pictures)
    width = max(p.shape[1] for p in pictures)
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * height, min(columns, len(pictures)) * width, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * height, i % columns * width
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture[..., :3]
    return canvas
