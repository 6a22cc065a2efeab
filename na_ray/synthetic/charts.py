"""A UV atlas: charts cut by part, flattened with little distortion, packed by their shapes."""

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.ndimage import binary_dilation
from scipy.signal import fftconvolve
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

# Cells a side of the grid on which charts are packed; one cell is left free around each.
PACKING_GRID = 192


def merge_small_patches(faces: Int[ndarray, "f 3"], labels: Int[ndarray, "f"], smallest: int = 40) -> Int[ndarray, "f"]:
    """Number the connected patches of equal label, after giving patches of few faces to their neighbours."""
    first, second = _adjacent_faces(faces)
    patches = labels
    for _ in range(20):
        same = labels[first] == labels[second]
        graph = sp.coo_matrix((np.ones(same.sum()), (first[same], second[same])), shape=(len(faces),) * 2)
        _, patches = connected_components(graph, directed=False)
        small = np.bincount(patches)[patches] < smallest
        border = ~same & (small[first] ^ small[second])
        if not border.any():
            break
        labels = labels.copy()
        inner = np.where(small[first], first, second)[border]
        labels[inner] = np.where(small[first], labels[second], labels[first])[border]
    return patches


def _adjacent_faces(faces: Int[ndarray, "f 3"]) -> tuple[Int[ndarray, "e"], Int[ndarray, "e"]]:
    """Pairs of faces that share an edge."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    edges, owner = edges[order], owner[order]
    same = (edges[1:] == edges[:-1]).all(1)
    return owner[:-1][same], owner[1:][same]


def _local_triangles(vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> Float[ndarray, "f 3 2"]:
    """Every triangle laid into its own plane."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    x = (b - a) / np.linalg.norm(b - a, axis=1, keepdims=True)
    normal = np.cross(b - a, c - a)
    y = np.cross(normal / np.linalg.norm(normal, axis=1, keepdims=True), x)
    flat = np.zeros((len(faces), 3, 2))
    flat[:, 1, 0] = ((b - a) * x).sum(1)
    flat[:, 2] = np.stack([((c - a) * x).sum(1), ((c - a) * y).sum(1)], axis=1)
    return flat


def flatten(vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"], rounds: int = 12) -> Float[ndarray, "v 2"]:
    """Least-squares conformal map (Levy 2002) with two vertices pinned, then as-rigid-as-possible (Liu 2008)."""
    flat = _local_triangles(vertices, faces)
    uv = _conformal(vertices, faces, flat)
    corners = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    cot = np.stack([_cotangent(flat[:, k], flat[:, i], flat[:, j]) for i, j, k in corners], axis=1)
    cot = np.maximum(cot, 0.05)
    i = np.concatenate([faces[:, i] for i, _, _ in corners])
    j = np.concatenate([faces[:, j] for _, j, _ in corners])
    w = np.concatenate([cot[:, k] for k in range(3)])
    adjacency = sp.coo_matrix((w, (i, j)), shape=(len(vertices),) * 2).tocsr()
    adjacency = adjacency + adjacency.T
    laplacian = sp.diags(np.asarray(adjacency.sum(1)).ravel() + 1e-9) - adjacency
    factor = splu(laplacian.tocsc())
    for _ in range(rounds):
        rigid = _nearest_rotations(flat, uv[faces], cot)
        rhs = np.zeros_like(uv)
        for k, (p, q, _) in enumerate(corners):
            pull = cot[:, k, None] * np.einsum("fab,fb->fa", rigid, flat[:, p] - flat[:, q])
            np.add.at(rhs, faces[:, p], pull)
            np.add.at(rhs, faces[:, q], -pull)
        uv = factor.solve(rhs)
    return uv


def _cotangent(apex: Float[ndarray, "f 2"], p: Float[ndarray, "f 2"], q: Float[ndarray, "f 2"]) -> Float[ndarray, "f"]:
    a, b = p - apex, q - apex
    return (a * b).sum(1) / np.maximum(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), 1e-12)


def _nearest_rotations(
    flat: Float[ndarray, "f 3 2"], uv: Float[ndarray, "f 3 2"], cot: Float[ndarray, "f 3"]
) -> Float[ndarray, "f 2 2"]:
    """The rotation that best carries each flat triangle to its place in the map, in closed form."""
    source, target = flat - np.roll(flat, -1, axis=1), uv - np.roll(uv, -1, axis=1)
    moment = np.einsum("fk,fka,fkb->fab", cot, target, source)
    cosine, sine = moment[:, 0, 0] + moment[:, 1, 1], moment[:, 1, 0] - moment[:, 0, 1]
    length = np.maximum(np.hypot(cosine, sine), 1e-30)
    cosine, sine = cosine / length, sine / length
    return np.stack([np.stack([cosine, -sine], 1), np.stack([sine, cosine], 1)], axis=1)


def _conformal(
    vertices: Float[ndarray, "v 3"], faces: Int[ndarray, "f 3"], flat: Float[ndarray, "f 3 2"]
) -> Float[ndarray, "v 2"]:
    z = flat[..., 0] + 1j * flat[..., 1]
    area = np.abs(((z[:, 1] - z[:, 0]).conj() * (z[:, 2] - z[:, 0])).imag)
    weights = np.stack([z[:, 2] - z[:, 1], z[:, 0] - z[:, 2], z[:, 1] - z[:, 0]], axis=1) / np.sqrt(area)[:, None]
    rows = np.repeat(np.arange(len(faces)), 3)
    matrix = sp.coo_matrix((weights.ravel(), (rows, faces.ravel())), shape=(len(faces), len(vertices))).tocsc()
    spread = (vertices - vertices.mean(0)) @ np.linalg.svd(vertices - vertices.mean(0), full_matrices=False)[2][0]
    pins = np.array([spread.argmin(), spread.argmax()])
    free = np.setdiff1d(np.arange(len(vertices)), pins)
    places = np.array([0.0, np.linalg.norm(vertices[pins[1]] - vertices[pins[0]])]).astype(complex)
    inner = matrix[:, free]
    rhs = -(matrix[:, pins] @ places)
    adjoint = inner.conj().T.tocsc()
    solution = np.empty(len(vertices), dtype=complex)
    solution[pins] = places
    solution[free] = splu((adjoint @ inner).tocsc()).solve(adjoint @ rhs)
    return np.stack([solution.real, solution.imag], axis=1)


def turn_upright(uv: Float[ndarray, "v 2"], height: Float[ndarray, "v"]) -> Float[ndarray, "v 2"]:
    """Rotate a chart so that `height` grows along v, and move its corner to the origin."""
    slope = np.linalg.lstsq(np.c_[uv, np.ones(len(uv))], height, rcond=None)[0][:2]
    slope /= np.linalg.norm(slope)
    uv = uv @ np.array([[slope[1], slope[0]], [-slope[0], slope[1]]])
    return uv - uv.min(0)


def _footprint(triangles: Float[ndarray, "f 3 2"]) -> Bool[ndarray, "h w"]:
    """Cells (rows along v) that a chart touches, and a border of one cell; triangles are in cells."""
    edges = triangles - np.roll(triangles, 1, axis=1)
    # Samples lie closer than a cell on the longest edge.
    steps = int(np.ceil(1.5 * np.linalg.norm(edges, axis=2).max())) + 2
    pairs = np.array([(a, b) for a in range(steps + 1) for b in range(steps + 1 - a)]) / steps
    bary = np.c_[pairs, 1.0 - pairs.sum(1)]
    cells = np.floor(np.einsum("sk,fkc->fsc", bary, triangles).reshape(-1, 2)).astype(int) + 1
    mask = np.zeros((cells[:, 1].max() + 2, cells[:, 0].max() + 2), dtype=bool)
    mask[cells[:, 1], cells[:, 0]] = True
    return binary_dilation(mask, np.ones((3, 3)))


def _place_all(charts: list[Float[ndarray, "_ 3 2"]], scale: float) -> list[tuple[int, int]] | None:
    """Lowest, then leftmost free places for the charts at `scale` cells a metre, or None when one does not fit."""
    taken = np.zeros((PACKING_GRID, PACKING_GRID))
    places = []
    for chart in charts:
        mask = _footprint(chart * scale)
        if mask.shape[0] > PACKING_GRID or mask.shape[1] > PACKING_GRID:
            return None
        overlap = fftconvolve(taken, mask[::-1, ::-1].astype(float), mode="valid")
        free = np.argwhere(overlap < 0.5)
        if not len(free):
            return None
        row, column = free[0]
        taken[row : row + mask.shape[0], column : column + mask.shape[1]] += mask
        places.append((int(column) + 1, int(row) + 1))
    return places


def pack(charts: list[Float[ndarray, "_ 3 2"]]) -> tuple[float, list[tuple[int, int]]]:
    """The largest scale (cells a metre), by bisection, at which all charts fit, and their places in cells.

    Charts are triangles in metres with the corner at the origin; they are laid down in the order given.
    """
    low, high = 10.0, 400.0
    best = _place_all(charts, low)
    assert best is not None, "charts do not fit into the atlas even when they are tiny"
    for _ in range(9):
        middle = 0.5 * (low + high)
        places = _place_all(charts, middle)
        if places is None:
            high = middle
        else:
            low, best = middle, places
    return low, best
