"""How the colors of a texture map follow the normals under a fixed light: spherical harmonics of order 2.

A map of one frame is m (1 + sum_k c_k (Y_k(n) - E Y_k(n))), with m the mean map, n the posed normal of a texel, E the
mean over training and c 8 numbers a color channel that all texels share (Ramamoorthi and Hanrahan 2001: a diffuse
surface hardly sees more of the light). So few numbers hold for poses that training never saw.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

COUNT = 8
"""Harmonics of order 1 and 2; the constant one is the mean map's."""
RIDGE = 1e-3
"""Keeps the fit sound where all normals agree."""

Frames = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Training frames, each time anew: texture map (3, n) in [0, 1] and posed normals (3, n), at the texels."""


def harmonics(normals: Float[Tensor, "3 *n"]) -> Float[Tensor, "8 *n"]:
    """Of unit or shorter normals, up to constant factors."""
    x, y, z = normals
    return torch.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1])


def fit_light(frames: Frames) -> tuple[Float[Tensor, "3 n"], Float[Tensor, "8 n"], Float[Tensor, "8 3"]]:
    """The mean map, the mean harmonics and the light c of some training frames, by least squares: two passes."""
    count, total, basis = 0, torch.zeros(()), torch.zeros(())
    for texture, normals in frames():
        count, total, basis = count + 1, total + texture.double(), basis + harmonics(normals).double()
    mean, basis = total / count, basis / count
    gram = torch.zeros(3, COUNT, COUNT, dtype=torch.float64, device=mean.device)
    right = torch.zeros(3, COUNT, dtype=torch.float64, device=mean.device)
    for texture, normals in frames():
        change = harmonics(normals).double() - basis
        for channel in range(3):
            weighted = mean[channel] * change
            gram[channel] += weighted @ weighted.T
            right[channel] += weighted @ (texture[channel].double() - mean[channel])
    ridge = RIDGE * torch.eye(COUNT, dtype=torch.float64, device=mean.device)
    light = torch.linalg.solve(gram + ridge, right[..., None])[..., 0].T
    return mean.float(), basis.float(), light.float()


def relit(
    mean: Float[Tensor, "3 n"], basis: Float[Tensor, "8 n"], light: Float[Tensor, "8 3"], normals: Float[Tensor, "3 n"]
) -> Float[Tensor, "3 n"]:
    """What the light adds to the mean map at some normals."""
    change = harmonics(normals) - basis
    return mean * (light.T @ change)
