"""The tracked template: a closed mesh of the clothed body, its skinning weights and its UV atlas."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.sparse.linalg import splu

from na_ray.synthetic.charts import PACKING_GRID, flatten, merge_small_patches, pack, turn_upright
from na_ray.synthetic.figure import BODY, body_level
from na_ray.synthetic.implicit import Mesh, blob_distance, extract
from na_ray.synthetic.skeleton import NAMES, REST, index

# Grid cell of the template (m): about 6,000 vertices.
CELL = 0.0195
# Length (m) over which skinning weights blend across a joint.
BLEND_LENGTH = 0.045
# Weights kept a vertex.
KEPT_WEIGHTS = 4

# The bones that a joint moves: joint, tip, and the usual radius of the flesh around it. Nearest bone wins.
BONES: tuple[tuple[str, str | tuple[float, float, float], float], ...] = (
    ("pelvis", "left_hip", 0.085),
    ("pelvis", "right_hip", 0.085),
    ("pelvis", "spine1", 0.085),
    ("spine1", "spine2", 0.085),
    ("spine2", "spine3", 0.085),
    ("spine3", (0.0, 0.42, -0.02), 0.085),
    ("spine3", "left_collar", 0.080),
    ("spine3", "right_collar", 0.080),
    ("neck", "head", 0.055),
    ("head", (0.0, 0.72, 0.0), 0.075),
    *(
        (f"{side}_{joint}", tip if isinstance(tip, str) else (sign * tip[0], tip[1], tip[2]), radius)
        for side, sign in (("left", 1.0), ("right", -1.0))
        for joint, tip, radius in (
            ("hip", f"{side}_knee", 0.062),
            ("knee", f"{side}_ankle", 0.042),
            ("ankle", f"{side}_foot", 0.036),
            ("foot", (0.110, -0.95, 0.15), 0.030),
            ("collar", f"{side}_shoulder", 0.050),
            ("shoulder", f"{side}_elbow", 0.042),
            ("elbow", f"{side}_wrist", 0.033),
            ("wrist", f"{side}_hand", 0.026),
            ("hand", (0.587, -0.09, 0.024), 0.022),
        )
    ),
)

# Charts of the atlas: part, the axis and offset that cut it into two, and how its size in the map is favoured.
CUTS: tuple[tuple[str, int, float, float], ...] = (
    ("head", 2, -0.012, 1.35),
    ("torso", 2, -0.012, 1.0),
    *(
        (f"{side}_{part}", axis, offset, favour)
        for side in ("left", "right")
        for part, axis, offset, favour in (
            ("arm", 2, -0.018, 1.0),
            ("hand", 2, 0.022, 1.0),
            ("leg", 2, -0.006, 1.0),
            ("foot", 1, -0.930, 1.0),
        )
    ),
)


@dataclass(frozen=True)
class Template:
    """Rest mesh (A pose, pelvis at the origin, metres), weights over 24 joints, and an atlas with seams."""

    mesh: Mesh
    weights: Float[ndarray, "v 24"]
    uv: Float[ndarray, "t 2"]
    uv_faces: Int[ndarray, "f 3"]


def _segment_distance(points: Float[ndarray, "n 3"], start: ndarray, end: ndarray) -> Float[ndarray, "n"]:
    axis = end - start
    along = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
    return np.linalg.norm(points - start - along[:, None] * axis, axis=1)


def nearest_bone(points: Float[ndarray, "n 3"]) -> Int[ndarray, "n"]:
    """Joint of the bone whose flesh is nearest."""
    distances = []
    for joint, tip, radius in BONES:
        end = REST[index(tip)] if isinstance(tip, str) else np.array(tip)
        distances.append(_segment_distance(points, REST[index(joint)], end) - radius)
    joints = np.array([index(joint) for joint, _, _ in BONES])
    return joints[np.argmin(distances, axis=0)]


def diffuse(mesh: Mesh, values: Float[ndarray, "v k"], length: float) -> Float[ndarray, "v k"]:
    """Solve (I - l^2 Laplacian) x = values along the mesh: smooths over about `length` metres, keeps row sums.

    Unlike distances in space this does not leak from one leg to the other or from the arm to the hip.
    """
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    n = len(mesh.vertices)
    # A uniform stencil of valence six on edges of length e has the Laplacian (2 / 3 e^2) sum (x_j - x_i).
    stiffness = (2.0 / 3.0) * length**2 / np.maximum(lengths, 0.3 * lengths.mean()) ** 2
    graph = sp.coo_matrix((stiffness, (edges[:, 0], edges[:, 1])), shape=(n, n)).tocsr()
    graph = graph + graph.T
    system = sp.eye(n) + sp.diags(np.asarray(graph.sum(1)).ravel()) - graph
    return splu(system.tocsc()).solve(np.ascontiguousarray(values))


def keep_largest(weights: Float[ndarray, "v k"], count: int = KEPT_WEIGHTS) -> Float[ndarray, "v k"]:
    """Zero all but the `count` largest weights of a row and normalize."""
    order = np.argsort(-weights, axis=1, kind="stable")
    kept = weights.copy()
    np.put_along_axis(kept, order[:, count:], 0.0, axis=1)
    kept[kept < 1e-4] = 0.0
    return kept / kept.sum(1, keepdims=True)


def _weights(mesh: Mesh) -> Float[ndarray, "v 24"]:
    hard = np.eye(len(NAMES))[nearest_bone(mesh.vertices)]
    # Two passes of half the length fall off more smoothly than one.
    return keep_largest(diffuse(mesh, diffuse(mesh, hard, BLEND_LENGTH * 0.6), BLEND_LENGTH * 0.6))


def _chart_labels(mesh: Mesh) -> Int[ndarray, "f"]:
    """Part and side of the cut for every face."""
    centroids = mesh.vertices[mesh.faces].mean(1)
    names = [cut[0] for cut in CUTS]
    part = np.array([names.index(blob.name) for blob in BODY])
    part = part[np.argmin([blob_distance(centroids, blob) for blob in BODY], axis=0)]
    axis, offset = np.array([c[1] for c in CUTS])[part], np.array([c[2] for c in CUTS])[part]
    return 2 * part + (centroids[np.arange(len(centroids)), axis] > offset)


def _atlas(mesh: Mesh) -> tuple[Float[ndarray, "t 2"], Int[ndarray, "f 3"]]:
    labels = _chart_labels(mesh)
    patches = merge_small_patches(mesh.faces, labels)
    order = np.argsort(-np.bincount(patches), kind="stable")
    charts, owners, uv_faces, start = [], [], np.empty_like(mesh.faces), 0
    for patch in order:
        chosen = patches == patch
        used, local = np.unique(mesh.faces[chosen], return_inverse=True)
        local = local.reshape(-1, 3)
        favour = CUTS[int(np.bincount(labels[chosen]).argmax()) // 2][3]
        # Arms hang in an A: what lies farther out is lower down the arm.
        height = mesh.vertices[used, 1] - 1.2 * np.maximum(np.abs(mesh.vertices[used, 0]) - 0.16, 0.0)
        uv = turn_upright(flatten(mesh.vertices[used], local), height)
        charts.append(favour * uv)
        owners.append(local)
        uv_faces[chosen] = local + start
        start += len(used)
    scale, places = pack([uv[local] for uv, local in zip(charts, owners, strict=True)])
    uv = np.concatenate([(uv * scale + place) / PACKING_GRID for uv, place in zip(charts, places, strict=True)])
    return uv, uv_faces


@lru_cache(maxsize=1)
def build_template() -> Template:
    """The template of the figure at its natural size; built once a process."""
    mesh = extract(body_level, (-0.68, -1.02, -0.22), (0.68, 0.84, 0.24), CELL)
    uv, uv_faces = _atlas(mesh)
    return Template(mesh, _weights(mesh), uv, uv_faces)
