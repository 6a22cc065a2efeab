"""What no camera sees of a frame: taken from other frames, then from the surroundings on the body.

Symbols: n texels inside the charts, v vertices, C a frame's colors, M the *reference*: each texel's median over frames.

A texel is filled with M + r, where r = C - M at the texels that are seen, carried over the body's edges to those that
are not: the shading of this frame on the pattern of the others, without a seam.
"""

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from na_ray.body.body import Body
from na_ray.body.views import TexelReader

CONFIDENT = 0.02
"""A texel is known well where the views' weights sum to this: half of what one good view at 68 degrees counts."""
KNOWN_SHARE = 0.25
"""A texel's median is believed wholly where this share of the frames know it well."""
STIFFNESS = 1e-3
"""What a difference across an edge counts, beside a vertex's own difference of weight one."""
STEPS = 60
"""At most so many steps of conjugate gradients a frame: on vertices, hence cheap."""


class Spreader:
    """Carries values that some texels have over the edges of the body to all."""

    def __init__(self, reader: TexelReader):
        self.reader = reader
        self.laplacian = _laplacian(reader.atlas.body)

    def spread(self, values: Float[Tensor, "n 3"], weights: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
        """A smooth field close to the values where they have weight; zero on parts of the body that have none."""
        sums = self.reader.at_vertices(torch.cat([values * weights[:, None], weights[:, None]], dim=1))
        known = sums.cpu().numpy().astype(np.float64)
        field = _solve(self.laplacian * STIFFNESS, known[:, 3], known[:, :3])
        return self.reader.at_texels(torch.tensor(field, dtype=values.dtype, device=values.device))


def _laplacian(body: Body) -> sp.csr_matrix:
    """The graph Laplacian of the body's edges."""
    faces, count = body.faces.cpu().numpy(), len(body.vertices)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    links = sp.csr_matrix((np.ones(len(edges)), edges.T), (count, count))
    links.data[:] = 1
    return (sp.diags(np.asarray(links.sum(1)).ravel()) - links).tocsr()


def _solve(
    smooth: sp.csr_matrix, weights: Float64[np.ndarray, "v"], sums: Float64[np.ndarray, "v c"]
) -> Float64[np.ndarray, "v c"]:
    """(W + L) x = s by conjugate gradients, all columns at once; the tiny weight of all makes it solvable."""
    weights = weights + 1e-9
    scale = 1 / (weights + smooth.diagonal())[:, None]
    x = np.zeros_like(sums)
    residual = sums.copy()
    preconditioned = scale * residual
    direction, product = preconditioned, (residual * preconditioned).sum(0)
    goal = 1e-6 * product
    for _ in range(STEPS):
        if (product <= goal).all():
            break
        image = weights[:, None] * direction + smooth @ direction
        step = product / np.maximum((direction * image).sum(0), 1e-300)
        x += step * direction
        residual = residual - step * image
        preconditioned = scale * residual
        product, before = (residual * preconditioned).sum(0), product
        direction = preconditioned + product / np.maximum(before, 1e-300) * direction
    return x


def reference(
    colors: Float[Tensor, "f n 3"], weights: Float[Tensor, "f n"], spreader: Spreader
) -> Float[Tensor, "n 3"]:
    """M: the median over the frames that know a texel well. It fades into the color of the surroundings on the body
    where only a few of the frames do: what is seen by a glance only is often another part of the body."""
    well = weights >= CONFIDENT
    middle = torch.where(well[..., None], colors, torch.nan).nanmedian(0).values.nan_to_num(0)
    share = (well.sum(0) / max(1.0, KNOWN_SHARE * len(weights))).clamp(max=1) ** 2
    if not share.any():
        return torch.full_like(middle, 0.5)
    # Glances speak only where there is nothing else near.
    firm = torch.where(share >= 1, share, 1e-4 * share)
    around = spreader.spread(middle, firm)
    # Parts of the body that no camera ever sees have no surroundings.
    reached = spreader.spread(torch.ones_like(middle), firm).clamp(0, 1)
    mean = (share[:, None] * middle).sum(0) / share.sum()
    return share[:, None] * middle + (1 - share[:, None]) * (reached * around + (1 - reached) * mean)
