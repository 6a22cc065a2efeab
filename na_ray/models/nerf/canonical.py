"""From a point near the posed body to coordinates on its surface and in canonical space.

Symbols: q closest surface point with barycentrics b on its face; A_j = `joints_RT[j]`, A'_j = `tpose[j]`, w_j the
skinning weights at q; M = sum_j w_j A_j and M' = sum_j w_j A'_j, both with last row (0, 0, 0, s), s = sum_j w_j.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.body.surface import Closest


def surface_coordinates(closest: Closest, posed: PosedBody) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 3"]]:
    """(u, v) of the closest points, and the field's surface coordinates (2u - 1, 2v - 1, signed distance in m)."""
    corners = posed.body.face_uv.index_select(0, closest.face)
    uv = (closest.barycentrics[:, :, None] * corners).sum(dim=1)
    signed = closest.sign * closest.sq_distance.sqrt()
    return uv, torch.cat([2 * uv - 1, signed[:, None]], dim=1)


def vertex_transforms(posed: PosedBody) -> Float[Tensor, "v 25"]:
    """For each vertex the upper rows of M and of M', row by row, and s.

    They are linear in the weights: interpolating them over a face is the same as blending with interpolated weights.
    """
    both = torch.cat([posed.joints_RT[:, :3].flatten(1), posed.body.tpose[:, :3].flatten(1)], dim=1)
    return torch.cat([posed.body.weights @ both, posed.body.weights.sum(dim=1, keepdim=True)], dim=1)


def unpose(
    points: Float[Tensor, "n 3"], closest: Closest, posed: PosedBody, transforms: Float[Tensor, "v 25"]
) -> Float[Tensor, "n 3"]:
    """Canonical (T-pose) positions of points in normalized space: (M' M^-1 [x; 1])_xyz, all in metres (parity 3.9).

    `transforms`: what `vertex_transforms` gives. With M = [[R, t], [0, s]]: y = R^-1 (x - t / s), x' = R' y + t' / s.
    """
    corners = posed.body.faces.index_select(0, closest.face)
    blended = F.embedding_bag(corners, transforms, per_sample_weights=closest.barycentrics, mode="sum")
    pose, rest, scale = blended[:, :12].view(-1, 3, 4), blended[:, 12:24].view(-1, 3, 4), blended[:, 24:]
    x, y, z = pose[:, :, 0], pose[:, :, 1], pose[:, :, 2]
    # Cramer's rule: the columns' cross products are the rows of the inverse, up to the determinant.
    minors = torch.stack([torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)], dim=1)
    offset = points - pose[:, :, 3] / scale
    determinant = (x * minors[:, 0]).sum(dim=1, keepdim=True)
    canonical = (minors * offset[:, None]).sum(dim=2) / determinant
    return (rest[:, :, :3] * canonical[:, None]).sum(dim=2) + rest[:, :, 3] / scale
