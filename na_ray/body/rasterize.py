"""Pictures of the posed and textured mesh by ray hits."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from na_ray.body.body import PosedBody
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera

Drawing = tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"], Float[Tensor, "h w"]]


@dataclass(frozen=True, eq=False)
class Hits:
    """Where the rays of a picture meet the mesh; only rays that do are listed."""

    pixel: Int[Tensor, "n"]
    """Row-major index of the pixel that the ray belongs to; one pixel has supersample^2 rays."""
    face: Int[Tensor, "n"]
    """Face that is hit first."""
    barycentrics: Float[Tensor, "n 3"]
    """Weights of its corners."""
    depth: Float[Tensor, "n"]
    """Distance from the camera's center along the ray, m."""
    direction: Float[Tensor, "n 3"]
    """World direction of the ray."""


def cast(posed: PosedBody, camera: Camera, surface: Surface, supersample: int = 1) -> Hits:
    """Hit the posed body with supersample^2 rays a pixel; refits the surface to the world vertices."""
    surface.refit(posed.world_vertices)
    pixels, index = _pixels_near(posed, camera, supersample)
    origins, directions = (torch.tensor(x).to(posed.vertices) for x in camera.rays(pixels))
    face, depth, barycentrics = surface.intersect(origins, directions)
    hit = face >= 0
    pixel = torch.tensor(index, device=hit.device)
    return Hits(pixel[hit], face[hit], barycentrics[hit], depth[hit], directions[hit])


def _pixels_near(posed: PosedBody, camera: Camera, supersample: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample positions (x, y) in the pixels that the body's box covers, and the pixels' row-major indices."""
    projected, depth = camera.project(posed.world_vertices.cpu().numpy())
    low, high = np.zeros(2, dtype=int), np.array([camera.width, camera.height]) - 1
    # A vertex behind the camera has no picture, so that the box would mean nothing.
    if (depth > 0).all():
        low = np.clip(np.floor(projected.min(axis=0) - 0.5), low, high + 1).astype(int)
        high = np.clip(np.ceil(projected.max(axis=0) + 0.5), low - 1, high).astype(int)
    rows, columns = np.mgrid[low[1] : high[1] + 1, low[0] : high[0] + 1]
    offsets = (np.arange(supersample) + 0.5) / supersample - 0.5
    dy, dx = np.meshgrid(offsets, offsets, indexing="ij")
    x = columns.reshape(-1, 1) + dx.reshape(1, -1)
    y = rows.reshape(-1, 1) + dy.reshape(1, -1)
    index = np.repeat((rows * camera.width + columns).reshape(-1), supersample**2)
    return np.stack([x.reshape(-1), y.reshape(-1)], axis=1), index


def textured_mesh(
    posed: PosedBody,
    texture: Float[Tensor, "_ _ _"],
    camera: Camera,
    surface: Surface,
    supersample: int = 2,
    background: float = 1.0,
) -> Drawing:
    """(color in [0, 1], depth in m, coverage in [0, 1]) of the posed body with a texture map of (3, H, W) or (H, W, 3).

    The texture's values are in [0, 1], its first row is v = 1. Depth is the distance along the pixel's rays, the mean
    over those that hit, 0 where none does. Pixels are means of supersample^2 rays over the background.
    """
    if 3 not in (texture.shape[0], texture.shape[2]):
        raise ValueError(f"a texture of shape {tuple(texture.shape)} given, expected (3, height, width)")
    chw = texture if texture.shape[0] == 3 else texture.permute(2, 0, 1)
    hits = cast(posed, camera, surface, supersample)
    uv = (hits.barycentrics[:, :, None] * posed.body.face_uv[hits.face]).sum(1)
    return _resolve(hits, sample_texture(chw.to(uv), uv), camera, supersample, background)


def sample_texture(texture: Float[Tensor, "3 h w"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Bilinear look-up; texel (row r, column c) has its center at u = (c + 0.5) / w, v = 1 - (r + 0.5) / h."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], dim=1)[None, None]
    return grid_sample(texture[None], grid, padding_mode="border", align_corners=False)[0, :, 0].T


def _resolve(hits: Hits, colors: Float[Tensor, "n 3"], camera: Camera, supersample: int, background: float) -> Drawing:
    """Mean of each pixel's rays: (color, depth, coverage)."""
    count = colors.new_zeros(camera.height * camera.width)
    count.index_add_(0, hits.pixel, torch.ones_like(hits.depth))
    depth = torch.zeros_like(count).index_add_(0, hits.pixel, hits.depth) / count.clamp(min=1)
    coverage = count / supersample**2
    total = colors.new_zeros(len(count), 3).index_add_(0, hits.pixel, colors) / supersample**2
    color = total + (1 - coverage[:, None]) * background
    size = (camera.height, camera.width)
    return color.view(*size, 3), depth.view(size), coverage.view(size)
