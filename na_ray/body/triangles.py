"""Points and rays against given faces, in the tensors' own precision.

Symbols: p a query point, A, B, C the corners of its face, e edges, q the closest point, w barycentrics in the order of
the face's corners.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from na_ray.body.body import edge_neighbors, pseudo_normals
from na_ray.body.kernels import PARITY_EPSILON


@dataclass(frozen=True, eq=False)
class Closest:
    """The closest surface point of each query point.

    Rows whose face is -1 are farther than the maximal distance: their squared distance is infinite, their point is the
    query itself, their barycentrics are zero. Mask them before use.
    """

    face: Int[Tensor, "n"]
    """Face that holds the closest point, or -1."""
    barycentrics: Float[Tensor, "n 3"]
    """Weights of the face's corners A, B, C."""
    sq_distance: Float[Tensor, "n"]
    """Squared distance, m^2."""
    points: Float[Tensor, "n 3"]
    """The closest point on the surface, in the space of the query, m."""
    sign: Float[Tensor, "n"]
    """+1 outside (or on the surface), -1 inside."""


def dot(a: Float[Tensor, "*n 3"], b: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    """Scalar products over the last axis, in full precision (`vecdot` is a matrix product: TF32 or bfloat16)."""
    return (a * b).sum(-1)


def project_to_faces(
    points: Float[Tensor, "n 3"],
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    face_ids: Int[Tensor, "n"],
    parity: bool = False,
    normals: Float[Tensor, "f 7 3"] | None = None,
) -> Closest:
    """The closest point of each query point on the face given for it, in the tensors' own precision.

    Default: exact, with the sign by angle-weighted pseudo-normals (`normals`, computed when not given).
    `parity` reproduces the original: epsilons in the denominators (3.6) and the sign by the face's normal (3.8).
    No gradient flows.
    """
    with torch.no_grad():
        found = face_ids >= 0
        known = face_ids.clamp(min=0)
        corners = faces.index_select(0, known)
        a, b, c = vertices.index_select(0, corners.T.reshape(-1)).view(3, -1, 3)
        weights, sq_distance = _project(points, a, b, c, PARITY_EPSILON if parity else 0.0)
        closest = weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c
        if parity:
            outward = torch.linalg.cross(b - a, c - b)
        else:
            if normals is None:
                normals = pseudo_normals(vertices, faces, edge_neighbors(faces))
            outward = normals.view(-1, 3).index_select(0, known * 7 + _feature(weights))
            sq_distance = (points - closest).square().sum(1)
        sign = torch.where(dot(points - closest, outward) < 0, -1.0, 1.0).to(points)
        return Closest(
            face=face_ids,
            barycentrics=weights * found[:, None],
            sq_distance=sq_distance.masked_fill(~found, torch.inf),
            points=torch.where(found[:, None], closest, points),
            sign=sign,
        )


def _project(
    p: Float[Tensor, "n 3"], a: Float[Tensor, "n 3"], b: Float[Tensor, "n 3"], c: Float[Tensor, "n 3"], epsilon: float
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Barycentrics and squared distance of the closest point of a triangle (parity 3.6; exact for epsilon 0)."""
    weights, sq_distance = _nearest_edge(p, a, b, c, epsilon)
    e0, e1 = b - a, c - a
    n = torch.linalg.cross(e1, e0)
    size = torch.linalg.vector_norm(n, dim=1)
    n = n / (size + epsilon)[:, None]
    t = dot(a - p, n)
    r = p + t[:, None] * n - a
    d00, d01, d11, d20, d21 = dot(e0, e0), dot(e0, e1), dot(e1, e1), dot(r, e0), dot(r, e1)
    m = torch.maximum(torch.maximum(d00, d11), torch.maximum(d20, d21))
    den = (d00 * d11 - d01 * d01) / m + epsilon
    w1 = (d11 * d20 - d01 * d21) / m / den
    w2 = (d00 * d21 - d01 * d20) / m / den
    w0 = 1 - w1 - w2
    inside = (w0 >= 0) & (w1 >= 0) & (w2 >= 0) & (size > epsilon)
    weights = torch.where(inside[:, None], torch.stack([w0, w1, w2], dim=1), weights)
    return weights, torch.where(inside, t * t * dot(n, n), sq_distance)


def _nearest_edge(
    p: Float[Tensor, "n 3"], a: Float[Tensor, "n 3"], b: Float[Tensor, "n 3"], c: Float[Tensor, "n 3"], epsilon: float
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Barycentrics and squared distance of the closest point of AB, AC or BC; AB, then AC, win ties."""

    def edge(start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        e = end - start
        length = dot(e, e)
        t = (dot(p - start, e) / length).clamp(0, 1)
        t = torch.where(length > epsilon, t, 0.0)
        return t, (p - start - t[:, None] * e).square().sum(1)

    (ab, d_ab), (ac, d_ac), (bc, d_bc) = edge(a, b), edge(a, c), edge(b, c)
    on_ac = (d_ac < d_ab) & (d_ac <= d_bc)
    on_bc = (d_bc < d_ab) & (d_bc < d_ac)
    zero = torch.zeros_like(ab)
    weights = torch.stack([1 - ab, ab, zero], dim=1)
    weights = torch.where(on_ac[:, None], torch.stack([1 - ac, zero, ac], dim=1), weights)
    weights = torch.where(on_bc[:, None], torch.stack([zero, 1 - bc, bc], dim=1), weights)
    return weights, torch.minimum(d_ab, torch.minimum(d_ac, d_bc))


def _feature(weights: Float[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    """Which feature of its face a point lies on, by which weights are zero: the order of `pseudo_normals`."""
    # Bits A, B, C of the weights that are not zero; 0 cannot occur.
    bits = ((weights > 0) * torch.tensor([1, 2, 4], device=weights.device)).sum(1)
    table = torch.tensor([0, 4, 5, 1, 6, 2, 3, 0], device=weights.device)
    return table[bits]


def meet_faces(
    origins: Float[Tensor, "n 3"],
    directions: Float[Tensor, "n 3"],
    vertices: Float[Tensor, "v 3"],
    faces: Int[Tensor, "f 3"],
    face_ids: Int[Tensor, "n"],
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
    """Depth (in lengths of the direction) and barycentrics of each ray on the face given for it; 0 for face -1."""
    with torch.no_grad():
        found = face_ids >= 0
        corners = faces.index_select(0, face_ids.clamp(min=0))
        a, b, c = vertices.index_select(0, corners.T.reshape(-1)).view(3, -1, 3)
        e0, e1, s = b - a, c - a, origins - a
        # Moeller and Trumbore, 1997.
        h = torch.linalg.cross(directions, e1)
        g = torch.linalg.cross(s, e0)
        scale = dot(e0, h)
        depth = dot(e1, g) / scale
        w1, w2 = dot(s, h) / scale, dot(directions, g) / scale
        weights = torch.stack([1 - w1 - w2, w1, w2], dim=1)
        return torch.where(found, depth, 0.0), torch.where(found[:, None], weights, 0.0)
