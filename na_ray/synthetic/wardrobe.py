"""What is filmed: fine meshes of head, hands, jacket, legs, shoes, hair; loose skirt, coat tail, collar, ponytail."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import cKDTree

from na_ray.synthetic import figure
from na_ray.synthetic.implicit import Level, Mesh, Point, extract, smooth_union, vertex_normals
from na_ray.synthetic.skeleton import NAMES, index
from na_ray.synthetic.template import Template, build_template, keep_largest

PIECES = ("head", "hands", "jacket", "legs", "shoes", "hair", "skirt", "coat_tail", "collar", "ponytail")


@dataclass(frozen=True)
class Sheet:
    """A rectangular net of cloth round the body: rows run down, columns round from the front towards the left."""

    start: int
    """Number of its first vertex."""
    rows: int
    columns: int
    closed: bool
    """Whether the last column meets the first."""


@dataclass(frozen=True)
class Wardrobe:
    """Everything that the cameras see, in the rest pose."""

    vertices: Float[ndarray, "v 3"]
    normals: Float[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]
    weights: Float[ndarray, "v 24"]
    piece: Int[ndarray, "v"]
    """Which of `PIECES` a vertex belongs to."""
    coords: Float[ndarray, "v 3"]
    """Where patterns are looked up: rest positions, or (metres round, metres down, 0) on sheets."""
    sheets: dict[str, Sheet]


# Solid pieces: surface, box, grid cell (m).
_SOLIDS: tuple[tuple[str, Level, Point, Point, float], ...] = (
    ("head", figure.head_level, (-0.11, 0.42, -0.14), (0.11, 0.80, 0.14), 0.0075),
    (
        "hands",
        lambda p: smooth_union(p, [b for b in figure.HANDS if b.joint.startswith("left")], 0.0035),
        (0.43, -0.16, -0.09),
        (0.68, 0.15, 0.13),
        0.006,
    ),
    (
        "jacket",
        lambda p: smooth_union(p, figure.TORSO + figure.SLEEVES, 0.011),
        (-0.54, -0.18, -0.18),
        (0.54, 0.56, 0.16),
        0.0125,
    ),
    ("legs", lambda p: smooth_union(p, figure.LEGS, 0.010), (-0.22, -0.96, -0.14), (0.22, 0.02, 0.12), 0.015),
    (
        "shoes",
        lambda p: figure.soled(p, smooth_union(p, figure.SHOES, 0.008)),
        (-0.18, -1.00, -0.12),
        (0.18, -0.82, 0.20),
        0.0095,
    ),
    ("hair", figure.hair_level, (-0.13, 0.52, -0.20), (0.13, 0.84, 0.14), 0.009),
)

# Sheets: rows of (height, center z, half width, half depth) in metres, from top to hem.
_SHEETS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "skirt": (
        (0.105, -0.004, 0.112, 0.075),
        (0.060, -0.008, 0.140, 0.096),
        (-0.020, -0.013, 0.170, 0.116),
        (-0.120, -0.014, 0.178, 0.122),
        (-0.260, -0.006, 0.170, 0.108),
        (-0.405, 0.002, 0.166, 0.094),
    ),
    "coat_tail": (
        (0.150, -0.006, 0.116, 0.078),
        (0.110, -0.006, 0.126, 0.089),
        (0.040, -0.010, 0.158, 0.113),
        (-0.050, -0.014, 0.184, 0.131),
        (-0.140, -0.016, 0.194, 0.139),
    ),
    "collar": (
        (0.462, -0.030, 0.078, 0.070),
        (0.500, -0.028, 0.062, 0.056),
        (0.532, -0.026, 0.059, 0.056),
    ),
}
# Rows, columns, and the angle (degrees) left open at the front.
_NETS = {"skirt": (30, 112, 0.0), "coat_tail": (18, 88, 56.0), "collar": (7, 60, 50.0), "ponytail": (18, 18, 0.0)}


def _net_faces(rows: int, columns: int, closed: bool) -> Int[ndarray, "f 3"]:
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = r * columns + c, r * columns + (c + 1) % columns
    quads = np.stack([a, b, b + columns, a + columns], axis=-1).reshape(-1, 4)
    return np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]])


def sheet_angles(columns: int, gap_degrees: float) -> Float[ndarray, "c"]:
    """Angles of the columns, radians from the front towards the left."""
    gap = np.radians(gap_degrees)
    if gap == 0.0:
        return 2 * np.pi * np.arange(columns) / columns
    return np.linspace(gap / 2, 2 * np.pi - gap / 2, columns)


def _sheet(name: str) -> tuple[Mesh, Float[ndarray, "v 3"]]:
    """Net and pattern coordinates of a sheet at rest."""
    rows, columns, gap = _NETS[name]
    knots = np.array(_SHEETS[name])
    along = np.linspace(0.0, 1.0, rows)
    table = np.stack([np.interp(along, np.linspace(0, 1, len(knots)), knots[:, k]) for k in range(4)], axis=1)
    # Piecewise linear rows have visible kinks: average each with its neighbours.
    for _ in range(2):
        table[1:-1] = 0.25 * table[:-2] + 0.5 * table[1:-1] + 0.25 * table[2:]
    angles = sheet_angles(columns, gap)
    y, z, half_width, half_depth = (table[:, k, None] for k in range(4))
    x = half_width * np.sin(angles)
    vertices = np.stack([x, y + 0.0 * x, z + half_depth * np.cos(angles)], axis=-1).reshape(-1, 3)
    round_about = np.broadcast_to(angles * float(table[:, 2:].mean()), (rows, columns))
    down = np.broadcast_to(table[0, 0] - table[:, :1], (rows, columns))
    coords = np.stack([round_about, down, np.zeros_like(down)], axis=-1).reshape(-1, 3)
    return Mesh(vertices, _net_faces(rows, columns, gap == 0.0)), coords


def _nearby_weights(vertices: Float[ndarray, "v 3"], template: Template) -> Float[ndarray, "v 24"]:
    """The template's weights, blended over the eight nearest vertices."""
    distance, near = cKDTree(template.mesh.vertices).query(vertices, k=8)
    share = 1.0 / (distance + 0.004) ** 2
    return np.einsum("vk,vkj->vj", share / share.sum(1, keepdims=True), template.weights[near])


def _skirt_weights(vertices: Float[ndarray, "v 3"]) -> Float[ndarray, "v 24"]:
    """Pelvis at the waist, then the thighs, blended from left to right: what linear skinning makes of a skirt."""
    weights = np.zeros((len(vertices), len(NAMES)))
    drop = np.clip((0.06 - vertices[:, 1]) / 0.40, 0.0, 1.0)
    thigh = 0.80 * drop * drop * (3 - 2 * drop)
    left = 0.5 + 0.5 * np.sin(0.5 * np.pi * np.clip(vertices[:, 0] / 0.13, -1.0, 1.0))
    weights[:, index("left_hip")], weights[:, index("right_hip")] = thigh * left, thigh * (1 - left)
    waist = np.clip((vertices[:, 1] - 0.03) / 0.10, 0.0, 1.0) * 0.5
    weights[:, index("pelvis")] = (1 - thigh) * (1 - waist)
    weights[:, index("spine1")] = (1 - thigh) * waist
    return weights


def _rigid(count: int, joint: str) -> Float[ndarray, "v 24"]:
    return np.tile(np.eye(len(NAMES))[index(joint)], (count, 1))


def _weights_of(name: str, vertices: Float[ndarray, "v 3"], template: Template) -> Float[ndarray, "v 24"]:
    if name in ("skirt", "coat_tail"):
        return _skirt_weights(vertices)
    if name in ("hair", "ponytail"):
        return _rigid(len(vertices), "head")
    return keep_largest(_nearby_weights(vertices, template))


def _pieces() -> dict[str, tuple[Mesh, Float[ndarray, "v 3"]]]:
    """Mesh and pattern coordinates of every piece."""
    pieces = {}
    for name, level, low, high, cell in _SOLIDS:
        mesh = extract(level, low, high, cell)
        if name == "hands":
            mirrored = mesh.vertices * (-1, 1, 1)
            faces = np.concatenate([mesh.faces, mesh.faces[:, ::-1] + len(mirrored)])
            mesh = Mesh(np.concatenate([mesh.vertices, mirrored]), faces)
        pieces[name] = (mesh, mesh.vertices)
    for name in _SHEETS:
        pieces[name] = _sheet(name)
    rows, columns, _ = _NETS["ponytail"]
    along, angle = np.repeat(np.linspace(0, 1, rows), columns), np.tile(sheet_angles(columns, 0.0), rows)
    # The ponytail gets its places from the drape alone; here it waits at its root.
    root = np.tile(np.array(figure.BUN.end), (rows * columns, 1))
    coords = np.stack([angle, along, np.zeros_like(along)], axis=1)
    pieces["ponytail"] = (Mesh(root, _net_faces(rows, columns, True)), coords)
    return pieces


@lru_cache(maxsize=1)
def build_wardrobe() -> Wardrobe:
    """All pieces of the figure, built once a process."""
    template, pieces = build_template(), _pieces()
    starts = np.cumsum([0] + [len(pieces[name][0].vertices) for name in PIECES])
    meshes = [pieces[name][0] for name in PIECES]
    sheets = {
        name: Sheet(int(starts[PIECES.index(name)]), rows, columns, gap == 0.0)
        for name, (rows, columns, gap) in _NETS.items()
    }
    faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    return Wardrobe(
        vertices=vertices,
        normals=vertex_normals(vertices, faces),
        faces=faces,
        weights=np.concatenate([_weights_of(n, pieces[n][0].vertices, template) for n in PIECES]),
        piece=np.repeat(np.arange(len(PIECES)), [len(mesh.vertices) for mesh in meshes]),
        coords=np.concatenate([pieces[name][1] for name in PIECES]),
        sheets=sheets,
    )
