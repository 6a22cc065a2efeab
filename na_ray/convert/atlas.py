"""Texture coordinates for a body that has none: from an OBJ of the user, or an atlas made for the mesh.

No two faces may share a texel: a chart that lies on another, or mirrors it, would paint both sides of a body alike.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from na_ray.capture.obj import read_obj
from na_ray.config.values import UserError

GRID = 1024
"""Texels a side at which overlaps are looked for."""
MIRRORED = 0.01
"""Share of the charts' area that may be mirrored before it is worth a line."""
EDGE = 1e-3
"""By how much u and v may leave 0..1: programs round."""
FLAT = 0.1
"""Share of the faces that may have no area in the map: programs collapse what is never seen."""
FEW = 0.005
"""Share of the covered texels that may lie in two charts: neighbours touch, and programs round."""


@dataclass(frozen=True, eq=False)
class Unwrapping:
    """Texture coordinates of a mesh."""

    uv: Float64[np.ndarray, "t 2"]
    """Origin at the bottom left of the map."""
    uv_faces: Int64[np.ndarray, "f 3"]
    """Texture coordinates of each face."""
    lines: tuple[str, ...]
    """What the user should know."""


def from_obj(path: str, vertices: Float[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"]) -> Unwrapping:
    """Those of an OBJ of the same mesh. Raises UserError where it is another one, or charts lie on each other."""
    _, mapped, uv, uv_faces = read_obj(path)
    if not len(uv_faces):
        raise UserError(f"{path}: the faces have no texture coordinates; expected 'f 1/1 2/2 3/3': name another --uv")
    if mapped.max() >= len(vertices) or len(mapped) != len(faces):
        found = f"{len(mapped)} faces of {mapped.max() + 1} vertices"
        expected = f"expected the body's {len(faces)} of {len(vertices)}"
        raise UserError(f"{path}: {found}; {expected}: use the UV file of this body (SMPL and SMPL-X have their own)")
    aligned = _aligned(mapped, uv_faces, faces)
    if aligned is None:
        odd = int((np.sort(mapped, axis=1) != np.sort(faces, axis=1)).any(axis=1).argmax())
        found = f"face {odd + 1} has vertices {(mapped[odd] + 1).tolist()}, the body's {(faces[odd] + 1).tolist()}"
        raise UserError(f"{path}: {found}; expected the body's own faces: use the UV file of this body")
    places = uv.astype(np.float64)
    if what := fault(places, aligned):
        todo = "unwrap it anew (Blender: Smart UV Project), or leave --uv out: an atlas is made then"
        raise UserError(f"{path}: {what}: {todo}")
    lines = [f"texture coordinates: {path}, {len(uv)} of them"]
    turned = mirrored(places, aligned)
    if turned > MIRRORED:
        lines.append(f"{path}: {turned:.0%} of the map is mirrored: text on clothes would read backwards in it")
    return Unwrapping(places, aligned, tuple(lines))


def fault(uv: Float64[np.ndarray, "t 2"], uv_faces: Int64[np.ndarray, "f 3"]) -> str | None:
    """What keeps texture coordinates from being an atlas; None: nothing does."""
    within: np.ndarray = np.all((uv >= -EDGE) & (uv <= 1 + EDGE), axis=1)  # NaN is not
    used = uv_faces[~within[uv_faces]]
    if len(used):
        return f"vt {used[0] + 1} is {uv[used[0]].tolist()}; expected u and v from 0 to 1, all in one map"
    areas = np.abs(_areas(uv, uv_faces)) / 2
    if (flat := int((areas < 1e-12).sum())) > FLAT * len(uv_faces):
        return f"{flat} of {len(uv_faces)} faces have no area in the map"
    if (total := float(areas.sum())) > 1 + FEW:  # known without looking at a texel
        return f"the charts cover {total:.3g} times the map; expected each part by itself"
    share = overlap(uv, uv_faces)
    return f"{share:.0%} of the map lies in two charts; expected each part by itself" if share > FEW else None


def _aligned(
    mapped: Int64[np.ndarray, "f 3"], uv_faces: Int64[np.ndarray, "f 3"], faces: Int64[np.ndarray, "f 3"]
) -> Int64[np.ndarray, "f 3"] | None:
    """`uv_faces` in the order of the body's faces and of their corners; None where it is another mesh."""
    if np.array_equal(mapped, faces):
        return uv_faces
    theirs, ours = (np.lexsort(np.sort(f, axis=1).T[::-1]) for f in (mapped, faces))
    found = np.empty_like(uv_faces)
    found[ours] = uv_faces[theirs]
    corners = np.empty_like(mapped)
    corners[ours] = mapped[theirs]
    # Each of the body's corners is one of that face's.
    same = corners[:, None, :] == faces[:, :, None]
    if not same.any(axis=2).all():
        return None
    return np.take_along_axis(found, same.argmax(axis=2), axis=1)


def made(vertices: Float[np.ndarray, "v 3"], faces: Int64[np.ndarray, "f 3"]) -> Unwrapping:
    """An atlas by xatlas: charts of little distortion, packed side by side. The same mesh has the same atlas."""
    try:
        import xatlas  # takes a moment, and is needed here alone
    except ImportError:
        raise UserError("there is no xatlas here to make an atlas with: name a UV file, --uv OBJ") from None

    cut = xatlas.Atlas()
    cut.add_mesh(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.uint32))
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 4
    packing.resolution, packing.padding, packing.bilinear = GRID, 4, True
    # It turns charts by exchanging u and v, which mirrors them.
    packing.rotate_charts = packing.rotate_charts_to_axis = False
    cut.generate(charts, packing)
    source, indices, uv = cut[0]
    if len(indices) != len(faces) or not np.array_equal(source[indices], faces):
        raise UserError("the mesh could not be unwrapped: some faces have no area; name a UV file, --uv OBJ")
    # It mirrors some charts, too: they are turned round, and all are packed again.
    packed = xatlas.Atlas()
    upright = _unmirrored(uv.astype(np.float64), indices.astype(np.int64))
    packed.add_uv_mesh(np.ascontiguousarray(upright, np.float32), np.ascontiguousarray(indices, np.uint32))
    packed.generate(charts, packing)
    _, corners, places = packed[0]
    told = f"texture coordinates: an atlas was made ({packed.chart_count} charts, {packed.utilization:.0%} of it used)"
    return Unwrapping(places.astype(np.float64), corners.astype(np.int64), (told,))


def _unmirrored(uv: Float64[np.ndarray, "t 2"], uv_faces: Int64[np.ndarray, "f 3"]) -> Float64[np.ndarray, "t 2"]:
    """With those charts mirrored whose faces turn right; they may come to lie on others."""
    ends = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(ends)), ends.T), shape=(len(uv), len(uv)))
    _, chart = connected_components(graph, directed=False)
    areas = np.bincount(chart[uv_faces[:, 0]], _areas(uv, uv_faces), minlength=chart.max() + 1)
    return np.where((areas < 0)[chart][:, None], uv * [-1, 1] + [1, 0], uv)


def _areas(uv: Float64[np.ndarray, "t 2"], uv_faces: Int64[np.ndarray, "f 3"]) -> Float64[np.ndarray, "f"]:
    """Twice the area of each face; below 0 where its corners turn right."""
    edges = uv[uv_faces][:, 1:] - uv[uv_faces][:, :1]
    return edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]


def overlap(uv: Float64[np.ndarray, "t 2"], uv_faces: Int64[np.ndarray, "f 3"], size: int = GRID) -> float:
    """Share of the covered texels whose centres lie within two faces."""
    corners = uv[uv_faces] * size - 0.5
    count = np.zeros((size + 2, size + 2), np.int64)
    for triangle in corners:
        low = np.clip(np.ceil(triangle.min(axis=0)), 0, size).astype(int)
        high = np.clip(np.floor(triangle.max(axis=0)), -1, size).astype(int)
        if (high < low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1), indexing="ij")
        count[x, y] += _within(triangle, x, y)
    return float((count > 1).sum() / max((count > 0).sum(), 1))


def mirrored(uv: Float64[np.ndarray, "t 2"], uv_faces: Int64[np.ndarray, "f 3"]) -> float:
    """Share of the charts' area whose faces turn right: they are seen from behind."""
    areas = _areas(uv, uv_faces)
    left, right = areas[areas > 0].sum(), -areas[areas < 0].sum()
    return float(right / max(left + right, 1e-30))


def _within(triangle: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points lie strictly within: those on an edge belong to both its faces."""
    sides = []
    for i in range(3):
        a, b = triangle[i], triangle[(i + 1) % 3]
        sides.append((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]))
    lefts = np.stack(sides)
    return np.asarray((lefts > 1e-9).all(axis=0) | (lefts < -1e-9).all(axis=0))
