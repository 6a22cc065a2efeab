"""Implicit surfaces: smooth unions of rounded cones, and the meshes drawn through their zero level."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Blob:
    """A rounded cone between two points, flattened front to back by `flat`; it moves with `joint`."""

    joint: str
    """Name of the joint that carries it."""
    start: Point
    end: Point
    start_radius: float
    end_radius: float
    flat: float = 1.0
    """Depth (z) over width (x) of the cross-section."""
    name: str = ""
    """Which part of the figure it belongs to."""


def closest_on_axis(points: Float[ndarray, "n 3"], blob: Blob) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n"]]:
    """Offsets from the closest points of the blob's axis, in its flattened metric, and the radii there."""
    scale = np.array([1.0, 1.0, 1.0 / blob.flat])
    start, end = np.array(blob.start) * scale, np.array(blob.end) * scale
    axis = end - start
    along = np.clip((points * scale - start) @ axis / max(axis @ axis, 1e-12), 0.0, 1.0)
    return points * scale - start - along[:, None] * axis, blob.start_radius + along * (
        blob.end_radius - blob.start_radius
    )


def blob_distance(points: Float[ndarray, "n 3"], blob: Blob) -> Float[ndarray, "n"]:
    """Signed distance (exact where flat is 1) from the blob's surface; negative inside."""
    offsets, radii = closest_on_axis(points, blob)
    return (np.linalg.norm(offsets, axis=1) - radii) * min(1.0, blob.flat)


def smooth_union(points: Float[ndarray, "n 3"], blobs: Sequence[Blob], softness: float) -> Float[ndarray, "n"]:
    """-k log(sum_i exp(-d_i / k)): the union of the blobs with creases rounded over about `softness` metres."""
    reach = 14.0
    total = np.full(len(points), np.exp(-reach))
    for blob in blobs:
        # A blob farther than `reach` k no longer matters: most points are spared the distance.
        radius = max(blob.start_radius, blob.end_radius) * max(blob.flat, 1.0) + reach * softness
        low, high = np.minimum(blob.start, blob.end) - radius, np.maximum(blob.start, blob.end) + radius
        near = np.ones(len(points), dtype=bool)
        for a in range(3):
            near &= (points[:, a] > low[a]) & (points[:, a] < high[a])
        chosen = np.flatnonzero(near)
        total[chosen] += np.exp(-np.clip(blob_distance(points[chosen], blob) / softness, -200.0, reach))
    return -softness * np.log(total)


@dataclass(frozen=True)
class Mesh:
    """Triangles, wound counter-clockwise seen from outside."""

    vertices: Float[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]


Level = Callable[[Float[ndarray, "n 3"]], Float[ndarray, "n"]]


def extract(level: Level, low: Point, high: Point, cell: float) -> Mesh:
    """Mesh of `level` = 0 inside a box by surface nets: one vertex a cell that the surface crosses, one quad an edge.

    The vertices are relaxed and pulled back onto the surface, which evens out the grid's steps.
    """
    counts = np.ceil((np.array(high) - low) / cell).astype(int) + 1
    axes = [low[a] + cell * np.arange(counts[a]) for a in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = level(grid.reshape(-1, 3)).reshape(counts)
    active, vertices = _cell_vertices(values)
    faces = _edge_quads(values < 0, active)
    mesh = Mesh(np.asarray(low) + cell * vertices, faces)
    return _relax(mesh, level, cell)


def _cell_vertices(values: Float[ndarray, "x y z"]) -> tuple[Int[ndarray, "p q r"], Float[ndarray, "v 3"]]:
    """Number of the vertex of each cell (-1: none), and the mean of the crossings on each such cell's edges."""
    shape = tuple(n - 1 for n in values.shape)
    total, hits = np.zeros((*shape, 3)), np.zeros(shape)
    corner = {c: values[tuple(slice(o, o + n) for o, n in zip(c, shape, strict=True))] for c in np.ndindex(2, 2, 2)}
    for axis in range(3):
        for c in np.ndindex(2, 2, 2):
            if c[axis]:
                continue
            other = tuple(1 if a == axis else c[a] for a in range(3))
            crosses = (corner[c] < 0) != (corner[other] < 0)
            gap = np.where(crosses, corner[c] - corner[other], 1.0)
            place = np.broadcast_to(np.array(c, dtype=float), (*shape, 3)).copy()
            place[..., axis] = np.where(crosses, corner[c] / gap, 0.0)
            total += np.where(crosses[..., None], place, 0.0)
            hits += crosses
    cells = np.argwhere(hits > 0)
    numbers = np.full(shape, -1)
    numbers[tuple(cells.T)] = np.arange(len(cells))
    return numbers, cells + total[tuple(cells.T)] / hits[tuple(cells.T)][:, None]


def _edge_quads(inside: Bool[ndarray, "x y z"], numbers: Int[ndarray, "p q r"]) -> Int[ndarray, "f 3"]:
    """Two triangles for every grid edge whose ends differ, round the four cells that share it."""
    faces = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        first = [slice(1, -1)] * 3
        second = [slice(1, -1)] * 3
        first[axis], second[axis] = slice(0, -1), slice(1, None)
        start, stop = inside[tuple(first)], inside[tuple(second)]
        edges = np.argwhere(start != stop)
        outward = start[tuple(edges.T)]
        edges[:, [b, c]] += 1
        ring = []
        for db, dc in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = edges.copy()
            cell[:, b] += db
            cell[:, c] += dc
            ring.append(numbers[tuple(cell.T)])
        quad = np.stack(ring, axis=1)
        quad[~outward] = quad[~outward][:, ::-1]
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return np.concatenate(faces)


def _relax(mesh: Mesh, level: Level, cell: float, rounds: int = 4) -> Mesh:
    """Alternate moves towards the neighbours' mean and Newton steps back onto the surface."""
    vertices = mesh.vertices
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    degree = np.bincount(edges[:, 0], minlength=len(vertices))[:, None]
    for _ in range(rounds):
        sums = np.stack([np.bincount(edges[:, 0], vertices[edges[:, 1], a], len(vertices)) for a in range(3)], axis=1)
        vertices = 0.5 * vertices + 0.5 * sums / degree
        vertices = _project(vertices, level, cell)
    return Mesh(vertices, mesh.faces)


def _project(vertices: Float[ndarray, "v 3"], level: Level, cell: float) -> Float[ndarray, "v 3"]:
    """One Newton step along the gradient, no longer than half a cell."""
    step = 0.05 * cell
    value = level(vertices)
    gradient = np.stack([(level(vertices + step * unit) - value) / step for unit in np.eye(3)], axis=1)
    move = gradient * (value / np.maximum((gradient**2).sum(1), 1e-6))[:, None]
    length = np.linalg.norm(move, axis=1, keepdims=True)
    return vertices - move * np.minimum(1.0, 0.5 * cell / np.maximum(length, 1e-12))


def vertex_normals(vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> Float[ndarray, "v 3"]:
    """Area-weighted unit normals."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)
    corners = faces.ravel()
    summed = np.stack([np.bincount(corners, np.repeat(area[:, k], 3), len(vertices)) for k in range(3)], axis=1)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
