"""Splats drawn by plain float64 loops, from the formulas alone: what the kernels are compared with."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from na_ray.capture.camera import Camera

LEAST, MOST, OPAQUE, NEAR, MARGIN = 1 / 255, 0.995, 1e-3, 0.05, 0.3


@dataclass
class Reference:
    """Pictures, and the pixels whose value hangs on a cut-off that rounding may decide."""

    colors: Tensor
    passing: Tensor
    unsure: Tensor


def ellipse(mean: Tensor, factor: Tensor, camera: Camera, blur: float) -> tuple[Tensor, Tensor, Tensor] | None:
    """Center (2), covariance (2, 2) and depth in a picture; None where it is not drawn."""
    rotation = torch.from_numpy(camera.T_world_camera[:3, :3].T).double()
    K = torch.from_numpy(camera.K).double()
    local = rotation @ (mean - torch.from_numpy(camera.center).double())
    if local[2] < NEAR:
        return None
    homogeneous = K @ local
    center = homogeneous[:2] / local[2]
    for value, size in zip(center, (camera.width, camera.height), strict=True):
        if not -0.5 - MARGIN * size <= float(value.detach()) <= size - 0.5 + MARGIN * size:
            return None
    # The derivative of K p / z.
    slope = (K[:2] - center[:, None] * K[2:]) / local[2]
    wide = slope @ rotation @ factor
    return center, wide @ wide.T + blur * torch.eye(2, dtype=torch.float64), local[2]


def draw(tensors: list[Tensor], cameras: list[Camera], blur: float) -> Reference:
    """means, factors, opacities, colors, frames, changes (float64) through some cameras, over black."""
    parts = [_draw_one(tensors, camera, blur) for camera in cameras]
    return Reference(*(torch.stack(values) for values in zip(*parts, strict=True)))


def _draw_one(tensors: list[Tensor], camera: Camera, blur: float) -> tuple[Tensor, Tensor, Tensor]:
    means, factors, opacities, colors, frames, changes = tensors
    found = [ellipse(mean, factor, camera, blur) for mean, factor in zip(means, factors, strict=True)]
    order = sorted((i for i, e in enumerate(found) if e), key=lambda i: float(found[i][2].detach()))  # type: ignore[index]
    y, x = torch.meshgrid(*(torch.arange(n).double() for n in (camera.height, camera.width)), indexing="ij")
    picture = torch.zeros(camera.height, camera.width, 3, dtype=torch.float64)
    passing = torch.ones(camera.height, camera.width, dtype=torch.float64)
    unsure = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    for i in order:
        center, covariance, _ = found[i]  # type: ignore[misc]
        inverse = torch.linalg.inv(covariance)
        offset = torch.stack([x - center[0], y - center[1]], dim=2)
        form = (offset @ inverse * offset).sum(2)
        alpha = opacities[i] * torch.exp(-form / 2)
        unsure |= (alpha - MOST).abs() < 1e-5
        alpha = alpha.clamp(max=MOST)
        unsure |= ((alpha - LEAST).abs() < 1e-5) & (passing > 0.5 * OPAQUE)
        unsure |= ((passing - OPAQUE).abs() < 1e-5) & (alpha > 0.5 * LEAST)
        alpha = torch.where((alpha >= LEAST) & (passing >= OPAQUE), alpha, torch.zeros_like(alpha))
        direction = means[i] - torch.from_numpy(camera.center).double()
        direction = frames[i].T @ (direction / direction.norm())
        color = colors[i] + 0.1 * (changes[:, i].view(3, 3) @ direction)
        picture = picture + (passing * alpha)[..., None] * color
        passing = passing * (1 - alpha)
    return picture, passing, unsure


def closed_form_pixel(opacity: float, distance: float, deviation: float) -> float:
    """Alpha of one round Gaussian at some distance (px) from its center."""
    return min(MOST, opacity * math.exp(-0.5 * (distance / deviation) ** 2))
