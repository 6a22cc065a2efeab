"""Whole pictures from rays: which pixels can see the body, the rays of each, and their means."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.pixels import near_body
from na_ray.models.avatar import Picture

# Rays handed to the model at once: it cuts them further, this bounds what it returns.
MOST_RAYS = 65_536

March = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Origins and directions (n, 3) to colors (n, 3) in [-1, 1], depths (n,) in m and transmittances (n,)."""


def near_pixels(posed: PosedBody, camera: Camera, radius: float) -> np.ndarray:
    """Row-major numbers of the pixels that may see something within `radius` (m) of the body's vertices."""
    near, tile = near_body(posed.world_vertices.cpu().numpy(), camera, radius)
    marked = near.repeat(tile, axis=0).repeat(tile, axis=1)[: camera.height, : camera.width]
    return np.flatnonzero(marked)


def sub_pixels(supersample: int) -> np.ndarray:
    """Offsets (x, y) in pixels of the s x s rays of a pixel from its center: (s^2, 2). One ray goes through it."""
    offsets = (np.arange(supersample) + 0.5) / supersample - 0.5
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def draw(
    march: March,
    camera: Camera,
    pixels: np.ndarray,
    supersample: int,
    background: Float[Tensor, "3"],
    background_depth: float,
) -> Picture:
    """The picture whose `pixels` (row-major numbers) are the means of their rays; the others show the background."""
    count = camera.height * camera.width
    colors, depth = background.repeat(count, 1), background.new_full((count,), background_depth)
    transmittance = background.new_ones(count)
    for chunk, origins, directions in _rays(camera, pixels, supersample, background):
        seen = (part.reshape(len(chunk), -1, *part.shape[1:]).mean(dim=1) for part in march(origins, directions))
        where = torch.from_numpy(chunk).to(background.device)
        colors[where], depth[where], transmittance[where] = seen
    size = camera.height, camera.width
    depth = depth.reshape(size)
    return Picture(
        colors=((colors + 1) / 2).clamp(0, 1).reshape(*size, 3),
        depth=depth,
        transmittance=transmittance.reshape(size),
        camera=camera,
    )


def _rays(
    camera: Camera, pixels: np.ndarray, supersample: int, like: Tensor
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """(pixels, origins, directions), pixel by pixel, some pixels at a time."""
    grid, offsets = camera.pixel_grid(), sub_pixels(supersample)
    step = max(1, MOST_RAYS // len(offsets))
    for start in range(0, len(pixels), step):
        chunk = pixels[start : start + step]
        points = (grid[chunk][:, None] + offsets).reshape(-1, 2)
        origins, directions = (torch.from_numpy(rays).to(like) for rays in camera.rays(points))
        yield chunk, origins, directions
