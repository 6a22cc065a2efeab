"""The surface of a radiance field as a mesh with colored vertices: marching cubes on a grid around the body."""

from typing import Any

import numpy as np
import torch
import trimesh
import warp as wp
from jaxtyping import Float
from scipy.ndimage import binary_fill_holes
from torch import Tensor
from warp.geometry import IsoSurfaceMarchingCubes

from na_ray.body import kernels
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.values import UserError
from na_ray.models.avatar import Avatar, Frame
from na_ray.render import encode

AT_ONCE = 65536
"""Points that the field is asked for at a time."""


def nerf_surface(actor: TrainedAvatar, pose: Pose, texture: Map, resolution: int, threshold: float) -> trimesh.Trimesh:
    """Where the density is `threshold` (1/m), world axes, m; each vertex has the color that is seen from outside.

    `resolution`: cells along the longest side of the box around the body. Raises UserError where no density reaches the
    threshold.
    """
    nerf, frame = actor.model, encode(actor, pose, texture)
    radius = actor.config.nerf.shell_radius
    vertices = frame.posed.world_vertices
    low, high = vertices.min(0).values - radius, vertices.max(0).values + radius
    cell = float((high - low).max()) / resolution
    counts = [int(n) for n in ((high - low) / cell).ceil().long() + 1]
    density = _densities(nerf, frame, low, cell, counts)
    if float(density.max()) <= threshold:
        most = float(density.max())
        raise UserError(f"no density reaches the threshold of {threshold:g} 1/m: the largest is {most:.3g}: lower it")
    _fill_holes(density, threshold)
    top = [float(low[a]) + cell * (counts[a] - 1) for a in range(3)]
    with kernels.on_device(density.device):
        field: Any = wp.from_torch(density, dtype=wp.float32)  # warp's types know less of its arrays than it does
        points, triangles = IsoSurfaceMarchingCubes.extract(
            field, threshold=threshold, lower=wp.vec3(*low.tolist()), upper=wp.vec3(*top)
        )
    corners, faces = points.numpy(), triangles.numpy().reshape(-1, 3)
    mesh = trimesh.Trimesh(corners, faces, process=False)
    if mesh.volume < 0:
        mesh.invert()
    places = torch.as_tensor(np.asarray(mesh.vertices), dtype=vertices.dtype, device=vertices.device)
    inwards = -torch.as_tensor(np.array(mesh.vertex_normals), dtype=vertices.dtype, device=vertices.device)
    _, colors = _field(nerf, frame, places, torch.nn.functional.normalize(inwards, dim=1))
    rgb = (colors * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=rgb)
    return mesh


def _fill_holes(density: Float[Tensor, "x y z"], threshold: float) -> None:
    """Make dense what is enclosed: deep inside the body the field is not evaluated, and nothing was learned."""
    dense = density > threshold
    holes = torch.as_tensor(binary_fill_holes(dense.cpu().numpy()), device=density.device) & ~dense
    density[holes] = density.max()


def _densities(
    nerf: Avatar[Any], frame: Frame, low: Float[Tensor, "3"], cell: float, counts: list[int]
) -> Float[Tensor, "x y z"]:
    """The density at the corners of the cells, a plane of them at a time."""
    axes = [low[a] + cell * torch.arange(counts[a], dtype=low.dtype, device=low.device) for a in range(3)]
    density = low.new_zeros(counts)
    y, z = torch.meshgrid(axes[1], axes[2], indexing="ij")
    # Density does not depend on where it is seen from.
    ahead = low.new_tensor([0.0, 0.0, 1.0])
    for i, x in enumerate(axes[0]):
        points = torch.stack([x.expand_as(y), y, z], dim=2).reshape(-1, 3)
        density[i] = _field(nerf, frame, points, ahead.expand_as(points))[0].view_as(y)
    return density


@torch.no_grad()
def _field(
    nerf: Avatar[Any], frame: Frame, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """Density and color, in parts of bounded memory."""
    sigmas, colors = list[Tensor](), list[Tensor]()
    for at, along in zip(points.split(AT_ONCE), directions.split(AT_ONCE), strict=True):
        found = nerf.density_at(frame, at, along)
        if found is None:
            raise UserError(f"{nerf.name} have no density, and so no surface: give an actor with a NeRF")
        sigmas.append(found[0])
        colors.append(found[1])
    return torch.cat(sigmas), torch.cat(colors)
