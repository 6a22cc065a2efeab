"""The radiance field at points in space instead of along rays: what a surface is made of."""

import torch
from jaxtyping import Float
from torch import Tensor

from na_ray.models.nerf.frame import NerfFrame
from na_ray.models.nerf.renderer import Nerf


@torch.no_grad()
def field_at(
    nerf: Nerf, frame: NerfFrame, points: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """Density (1/m; zero outside the shell) and color (RGB in [-1, 1]) at world points, seen along unit directions.

    In parts of bounded memory.
    """
    sigmas, colors = list[Tensor](), list[Tensor]()
    size = nerf.config.samples_per_chunk
    for at, along in zip(points.split(size), directions.split(size), strict=True):
        # A ray of one sample, at its origin.
        depths = at.new_zeros(len(at), 1)
        samples = nerf._locate(frame.fitted, at, along, depths)
        sigma, color = nerf._evaluate(samples, along, *nerf._look_up(frame, samples.uv), None, depths)
        sigmas.append(sigma[:, 0])
        colors.append(color[:, 0])
    return torch.cat(sigmas), torch.cat(colors)
