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

from na_ray.capture.camera import Camera

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


def normals_from_depth(depth: Float[Tensor, "h w"], camera: Camera) -> Float[Tensor, "h w 3"]:
    """Normals in camera axes from the depths (m) along the rays, pointing away from the camera (parity, section 5).

    n = unit(P[r-1, c] - P[r+1, c]) x unit(P[r, c+1] - P[r, c-1]), P the seen points; zero on the border of one pixel.
    """
    _, world = camera.rays(camera.pixel_grid())
    rays = torch.as_tensor(world @ camera.T_world_camera[:3, :3], dtype=depth.dtype, device=depth.device)
    points = depth[..., None] * rays.reshape(*depth.shape, 3)

    def unit(vectors: Tensor) -> Tensor:
        return vectors / (vectors.norm(dim=-1, keepdim=True) + 1e-8)

    up = unit(points[:-2, 1:-1] - points[2:, 1:-1])
    right = unit(points[1:-1, 2:] - points[1:-1, :-2])
    normals = torch.zeros_like(points)
    normals[1:-1, 1:-1] = torch.linalg.cross(up, right)
    return normals


def normal_colors(normals: Float[Tensor, "h w 3"], transmittance: Float[Tensor, "h w"]) -> Float[Tensor, "h w 3"]:
    """Normals of `normals_from_depth` in the usual colors: red = right, green = up, blue = towards the viewer."""
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
