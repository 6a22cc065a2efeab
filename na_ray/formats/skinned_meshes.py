"""Meshes that one skeleton moves, brought to the rest in which they were bound, and joined."""

import math

import numpy as np
from jaxtyping import Bool, Float64

from na_ray.config.values import UserError

MOST_VERTICES = 2**22
APART = 0.02
"""Of the skeleton's size: where a joint may be in one mesh's rest and in another's."""
SAME = 1e-3
"""Two joints' transforms are one where they differ by no more, relative to their size."""

SkinnedMesh = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]
"""Vertices (v, 3), faces (f, 3), texture coordinates of the vertices (v, 2) or None, weights (v, j)."""


class Placed:
    """Where joints are as bound, gathered from the skins that have them."""

    def __init__(self, joints: list[int], world: Float64[np.ndarray, "j 4 4"]) -> None:
        self._joints, self._world = joints, world
        self.places = world[:, :3, 3].copy()
        self._known = np.zeros(len(joints), bool)

    def add(
        self, joints: list[int], bind: Float64[np.ndarray, "j 4 4"], moving: Bool[np.ndarray, "j"], path: str
    ) -> Float64[np.ndarray, "4 4"]:
        """What brings a skin's meshes to their rest. Only joints that move vertices (`moving`) say anything about it:
        the matrices of others are often those of another pose, or none. Raises UserError where two skins disagree."""
        rows = [self._joints.index(j) for j in joints]
        if np.abs(np.linalg.det(bind[moving])).min(initial=np.inf) < 1e-12:
            raise ValueError("inverse bind matrices that cannot be inverted")
        moves = self._world[rows] @ bind
        to_rest = _placing(moves[moving])
        told = moving.copy()
        if np.abs(moves[moving] - to_rest).max() > SAME * max(1.0, float(np.abs(to_rest).max())):
            # A pose is stored in the nodes: joints that move nothing are where their matrices say, if those are some.
            told |= np.abs(np.linalg.det(bind)) >= 1e-12
        places = self.places[rows]
        places[told] = (to_rest @ np.linalg.inv(bind[told]))[:, :3, 3]
        both = self._known[rows] & moving
        apart = float(np.abs(places - self.places[rows])[both].max(initial=0.0))
        if apart > APART * float(np.ptp(places, axis=0).max()):
            raise UserError(f"{path}: its meshes are bound in different poses: bind them in one, or join them first")
        fresh = ~self._known[rows]
        self.places[np.array(rows)[fresh]] = places[fresh]
        self._known[np.array(rows)[moving]] = True
        return to_rest


def moved(
    mesh: SkinnedMesh,
    to_rest: Float64[np.ndarray, "4 4"],
    columns: list[int],
    count: int,
) -> SkinnedMesh:
    """A mesh at its rest, with weights of all `count` joints. What is mirrored is turned inside out again."""
    vertices, faces, uv, weights = mesh
    full = np.zeros((len(vertices), count))
    full[:, columns] = weights
    if np.linalg.det(to_rest[:3, :3]) < 0:
        faces = faces[:, ::-1]
    return vertices @ to_rest[:3, :3].T + to_rest[:3, 3], faces, uv, full


def joined(meshes: list[SkinnedMesh], path: str) -> SkinnedMesh:
    """Meshes as one: texture coordinates where all have some."""
    starts = np.cumsum([0, *(len(vertices) for vertices, *_ in meshes)])
    if starts[-1] > MOST_VERTICES:
        raise UserError(f"{path}: more than {MOST_VERTICES} vertices: export a coarser mesh")
    faces = [each + start for (_, each, _, _), start in zip(meshes, starts, strict=False)]
    uvs = [uv for _, _, uv, _ in meshes if uv is not None]
    uv = np.concatenate(uvs) if len(uvs) == len(meshes) else None
    vertices, weights = (np.concatenate([mesh[k] for mesh in meshes]) for k in (0, 3))
    return vertices, np.concatenate(faces), uv, weights


def _placing(moves: Float64[np.ndarray, "j 4 4"]) -> Float64[np.ndarray, "4 4"]:
    """What brings the mesh from its own space to where it rests: the joints' common transform where the nodes stand as
    bound, else (a pose is stored in the nodes) the size alone."""
    if not np.isfinite(moves).all():
        raise ValueError("numbers that are not finite")
    first = moves[0]
    size = float(np.cbrt(np.abs(np.linalg.det(first[:3, :3]))))
    if not 1e-6 < size < 1e6 or not math.isfinite(size):
        raise ValueError(f"a mesh that is scaled by {size:.3g}")
    if np.abs(moves - first).max() <= SAME * max(size, float(np.abs(first[:3, 3]).max())):
        return first
    return np.diag([size, size, size, 1.0])


def welded(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray | None, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(vertices, faces, uv, uv_faces, weights): vertices of one place and one set of weights are one."""
    keys = np.concatenate([vertices, np.round(weights, 5)], axis=1)
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # as they come in the file
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept, corners = first[order], rank[number.reshape(-1)][faces]
    sound = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    empty = (np.zeros((0, 2)), np.zeros((0, 3), np.int64))
    if uv is None:
        return vertices[kept], corners[sound], *empty, weights[kept]
    places, corner = np.unique(uv, axis=0, return_inverse=True)
    return vertices[kept], corners[sound], places, corner.reshape(-1)[faces][sound], weights[kept]
