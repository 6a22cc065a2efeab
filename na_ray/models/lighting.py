"""How the colors of a texture map follow the normals under a fixed light: spherical harmonics of order 2.

A map of one frame is m (1 + sum_k c_k (Y_k(n) - E Y_k(n))), with m the mean map, n the posed normal of a texel, E the
mean over training and c 8 numbers a color channel that all texels share (Ramamoorthi and Hanrahan 2001: a diffuse
surface hardly sees more of the light). So few numbers hold for poses that training never saw.
"""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

COUNT = 8
"""Harmonics of order 1 and 2; the constant one is the mean map's."""
RIDGE = 1e-3
"""Keeps the fit sound where all normals agree."""
REACH = 1 / 96
"""Standard deviation of the neighborhood from which a texel learns its own light, as a share of the map's side."""
PRIOR = 50.0
"""How strongly a texel's own light is drawn to the shared one: chosen on parts of a motion that the fit did not
see."""

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


def local_light(
    frames: Frames,
    fit: tuple[Float[Tensor, "3 n"], Float[Tensor, "8 n"], Float[Tensor, "8 3"]],
    size: tuple[int, int],
) -> Float[Tensor, "8 3 n"]:
    """A light for each texel of whole maps of some (height, width), row by row: `fit`, which `fit_light` gave, and what
    the texels around it show beside: shade of other limbs, gloss, cloth. One pass.

    Least squares of what the shared light leaves, weighted by a Gaussian of `REACH`, and drawn to the shared light.
    """
    mean, basis, light = fit
    outer, right = mean.new_zeros(COUNT, COUNT, mean.shape[1]), mean.new_zeros(COUNT, 3, mean.shape[1])
    for texture, normals in frames():
        change = harmonics(normals) - basis
        left = texture - mean - relit(mean, basis, light, normals)
        outer += change[:, None] * change
        right += change[:, None] * (mean * left)
    result = light[..., None].repeat(1, 1, mean.shape[1])
    prior = PRIOR * torch.eye(COUNT).to(mean)
    for channel in range(3):
        weighted = (outer * mean[channel].square()).flatten(0, 1)
        gram = _blurred(weighted, size).view(COUNT, COUNT, -1).permute(2, 0, 1)
        result[:, channel] += torch.linalg.solve(gram + prior, _blurred(right[:, channel], size).T[..., None])[..., 0].T
    return result


def _blurred(maps: Float[Tensor, "k n"], size: tuple[int, int]) -> Float[Tensor, "k n"]:
    """Sums over each texel's neighborhood, by a Gaussian that is 1 in its middle."""
    sigma = REACH * max(size)
    reach = math.ceil(3 * sigma)
    row = torch.exp(-((torch.arange(-reach, reach + 1).to(maps) / sigma) ** 2) / 2)[None, None, None]
    along = F.conv2d(maps.view(-1, 1, *size), row, padding=(0, reach))
    return F.conv2d(along, row.mT, padding=(reach, 0)).view_as(maps)


def relit(
    mean: Float[Tensor, "3 n"],
    basis: Float[Tensor, "8 n"],
    light: Float[Tensor, "8 3"] | Float[Tensor, "8 3 n"],
    normals: Float[Tensor, "3 n"],
) -> Float[Tensor, "3 n"]:
    """What the light, one or one for each texel, adds to the mean map at some normals."""
    change = harmonics(normals) - basis
    return mean * (light.T @ change if light.dim() == 2 else (light * change[:, None]).sum(0))
