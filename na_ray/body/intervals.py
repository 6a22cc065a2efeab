"""Where camera rays pass through the shell, the region within a radius of the posed vertices."""

import torch
import warp as wp
from jaxtyping import Bool, Float
from torch import Tensor

from na_ray.body import kernels
from na_ray.config.values import UserError

Intervals = tuple[Float[Tensor, "n"], Float[Tensor, "n"], Bool[Tensor, "n"]]


def shell_intervals(
    vertices_world: Float[Tensor, "v 3"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    radius: float,
    parity: bool = False,
) -> Intervals:
    """Near, far (in m, for unit directions) and whether the ray meets the shell; near = far = 0 where it does not.

    The interval runs from where the ray enters the first vertex's sphere to where it leaves the last one's (parity
    3.3). Spheres behind the origin do not count and near is at least 0; under `parity` they count as if they were in
    front, and near may be negative. float32 uses a BVH; float64 tries every sphere and is exact. No gradient flows.
    """
    if not torch.isfinite(vertices_world).all():
        raise UserError("the posed vertices hold NaN or infinite numbers: check this frame's joints_RT and rotation")
    with torch.no_grad():
        # Warp needs something to query, and float32 its resolution near the body.
        center = vertices_world.mean(dim=0)
        vertices, origins = vertices_world - center, origins - center
        if vertices.dtype == torch.float64:
            return _every_sphere(vertices, origins, directions, radius, parity)
        return _by_bvh(vertices, origins, directions, radius, parity)


def _by_bvh(
    vertices: Float[Tensor, "v 3"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    radius: float,
    parity: bool,
) -> Intervals:
    n, device = len(origins), vertices.device
    near, far = torch.empty(n, device=device), torch.empty(n, device=device)
    hit = torch.empty(n, device=device, dtype=torch.bool)
    lowers, uppers = torch.empty_like(vertices), torch.empty_like(vertices)
    with kernels.on_device(device) as name:
        centers, low, high = (kernels.as_vec3(x) for x in (vertices, lowers, uppers))
        wp.launch(kernels.sphere_bounds, len(vertices), [centers, radius, low, high], device=name)
        bvh = wp.Bvh(low, high, constructor=kernels.constructor(device))
        extent = wp.from_torch(vertices.norm(dim=1).amax().reshape(1))
        rays = [kernels.as_vec3(origins), kernels.as_vec3(directions)]
        out = [wp.from_torch(near), wp.from_torch(far), wp.from_torch(hit)]
        wp.launch(kernels.sphere_intervals, n, [bvh.id, centers, radius, extent, *rays, parity, *out], device=name)
        del bvh  # while its stream is the current one
    return near, far, hit


def _every_sphere(
    vertices: Float[Tensor, "v 3"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    radius: float,
    parity: bool,
) -> Intervals:
    parts = [
        _chunk(vertices, o, d, radius, parity)
        for o, d in zip(origins.split(kernels.CHUNK), directions.split(kernels.CHUNK), strict=True)
    ]
    near, far, hit = (torch.cat(part) for part in zip(*parts, strict=True))
    return near, far, hit


def _chunk(
    vertices: Float[Tensor, "v 3"],
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    radius: float,
    parity: bool,
) -> Intervals:
    along = directions @ vertices.T - (directions * origins).sum(1, keepdim=True)
    sq_length = vertices.square().sum(1) - 2 * origins @ vertices.T + origins.square().sum(1, keepdim=True)
    half = (radius**2 - (sq_length - along**2)).clamp(min=0).sqrt()
    along = along.abs() if parity else along
    met = half > 0 if parity else (half > 0) & (along + half > 0)
    near = torch.where(met, along - half, torch.inf).amin(1)
    far = torch.where(met, along + half, -torch.inf).amax(1)
    hit = met.any(1)
    near = near if parity else near.clamp(min=0)
    return torch.where(hit, near, 0.0), torch.where(hit, far, 0.0), hit
