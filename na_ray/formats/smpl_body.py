"""SMPL, SMPL-H and SMPL-X model files (`.npz`, `.pkl`): the licensed file stays the user's.

Symbols: V vertices, J joints, S shape coefficients. Joints come from the shaped template: J_regressor (v_template +
shapedirs betas). Rest pose: a T pose that faces z, y up, metres.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from na_ray.capture.skeleton import SMPL_JOINTS, SMPL_PARENTS
from na_ray.config.values import UserError
from na_ray.formats.arrays import read_npz, read_small
from na_ray.formats.calibrated import printable
from na_ray.formats.pickles import load_pickle

BODY = 22
"""Joints that the three models share, in one order."""
_FINGERS = [f"{finger}{i}" for finger in ("index", "middle", "pinky", "ring", "thumb") for i in (1, 2, 3)]
HANDS = [f"{side}_{finger}" for side in ("left", "right") for finger in _FINGERS]
FACE = ["jaw", "left_eye", "right_eye"]
NAMES: dict[int, list[str]] = {
    24: SMPL_JOINTS,
    52: SMPL_JOINTS[:BODY] + HANDS,
    55: SMPL_JOINTS[:BODY] + FACE + HANDS,
}
"""Joints of SMPL, SMPL-H and SMPL-X, in their order."""
KINDS = {24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}
NEEDED = ("v_template", "f", "weights", "J_regressor", "shapedirs", "kintree_table")
OPTIONAL = ("posedirs", "hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr")
NUM_EXPRESSIONS = 10
"""Columns of SMPL-X's `shapedirs` behind those of the shape are expressions': 300 + 100, or 10 + 10 in small files."""


@dataclass(frozen=True, eq=False)
class SmplBody:
    """A model of bodies."""

    source: str
    v_template: Float64[np.ndarray, "v 3"]
    """Mean body at rest, m."""
    faces: Int64[np.ndarray, "f 3"]
    weights: Float64[np.ndarray, "v j"]
    """Skinning weights; rows sum to one."""
    J_regressor: Float64[np.ndarray, "j v"]
    shapedirs: Float64[np.ndarray, "v 3 s"]
    """Offsets of a unit of each shape coefficient, m."""
    posedirs: Float64[np.ndarray, "v 3 p"] | None
    """Offsets of the entries of R_j - I, joints 1.. in order, m; None where the file has none."""
    parents: tuple[int, ...]
    hands: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None
    """Of the left and the right hand: components (c, 45), and means (45,): (cl, cr, ml, mr)."""

    @property
    def names(self) -> list[str]:
        """Names of the joints."""
        return NAMES[len(self.parents)]

    @property
    def kind(self) -> str:
        """`SMPL`, `SMPL-H` or `SMPL-X`."""
        return KINDS[len(self.parents)]

    def shaped(self, betas: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "v 3"]:
        """The template of these shape coefficients; those that the model lacks are left out."""
        count = min(len(betas), self.shapedirs.shape[2])
        return self.v_template + self.shapedirs[..., :count] @ betas[:count]

    def joints(self, vertices: Float64[np.ndarray, "v 3"]) -> Float64[np.ndarray, "j 3"]:
        """Joints of a shaped template."""
        return self.J_regressor @ vertices


def read_smpl_body(path: str) -> SmplBody:
    """A model file. Nothing in it is run. Raises UserError, one line."""
    if path.lower().endswith(".npz"):
        values = read_npz(path, NEEDED + OPTIONAL)
    else:
        values = load_pickle(read_small(path), path)
        if not isinstance(values, dict):
            raise UserError(f"{path}: holds a {type(values).__name__}; expected SMPL's dict: name the model's file")
    missing = [key for key in NEEDED if values.get(key) is None]
    if missing:
        told = printable(", ".join(str(key) for key in values)) or "nothing"
        raise UserError(f"{path}: no {missing[0]} (it has {told}); expected an SMPL, SMPL-H or SMPL-X model")
    array = {key: _numbers(values[key], key, path) for key in NEEDED}
    weights, template = array["weights"], array["v_template"]
    count, joints = weights.shape if weights.ndim == 2 else (0, 0)
    if joints not in KINDS:
        raise UserError(f"{path}: weights of {joints} joints; expected 24 (SMPL), 52 (SMPL-H) or 55 (SMPL-X)")
    shapes = {"v_template": (count, 3), "J_regressor": (joints, count), "shapedirs": (count, 3, None)}
    for key, shape in (shapes | {"f": (None, 3), "kintree_table": (2, joints)}).items():
        _check_shape(array[key], key, shape, path)
    faces = array["f"].astype(np.int64)
    if len(faces) == 0 or faces.min() < 0 or faces.max() >= count:
        raise UserError(f"{path}: f names vertices 0 to {faces.max(initial=0)} of {count}: use the whole model file")
    if np.abs(weights.sum(1) - 1).max() > 1e-3 or weights.min() < -1e-6:
        raise UserError(f"{path}: weights do not sum to 1 at each vertex: use the whole model file")
    shapedirs = array["shapedirs"]
    if joints == 55 and shapedirs.shape[2] in (20, 400):
        shapedirs = shapedirs[..., : 10 if shapedirs.shape[2] == 20 else 300]
    posedirs = _posedirs(values.get("posedirs"), count, joints, path)
    regressor = array["J_regressor"]
    parents = _parents(array["kintree_table"][0], joints, path)
    return SmplBody(path, template, faces, weights, regressor, shapedirs, posedirs, parents, _hands(values, path))


def _numbers(value: Any, key: str, path: str) -> np.ndarray:
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{path}: {key} is no array of numbers: use the whole model file") from None
    if not np.isfinite(array).all():
        raise UserError(f"{path}: {key} holds numbers that are not finite: use the whole model file")
    return array


def _check_shape(array: np.ndarray, key: str, shape: tuple[int | None, ...], path: str) -> None:
    fits = array.ndim == len(shape) and all(e is None or e == n for n, e in zip(array.shape, shape, strict=True))
    if not fits:
        found, expected = ("x".join("N" if n is None else str(n) for n in s) for s in (array.shape, shape))
        raise UserError(f"{path}: {key} is {found}; expected {expected}, as its weights say: use the whole model file")


def _posedirs(value: Any, count: int, joints: int, path: str) -> np.ndarray | None:
    if value is None:
        return None
    array = _numbers(value, "posedirs", path)
    width = 9 * (joints - 1)
    if array.shape == (width, 3 * count):  # as smplx keeps it
        array = array.T.reshape(count, 3, width)
    return array if array.shape == (count, 3, width) else None


def _parents(row: np.ndarray, joints: int, path: str) -> tuple[int, ...]:
    """The root's parent stands as 2**32 - 1, or -1."""
    parents = tuple(-1 if not 0 <= p < joints else int(p) for p in row)
    if parents[0] != -1 or any(p >= j for j, p in enumerate(parents)) or -1 in parents[1:]:
        raise UserError(f"{path}: kintree_table is no tree that begins with the root: use the whole model file")
    if joints == 24 and parents != SMPL_PARENTS:
        raise UserError(f"{path}: kintree_table is not SMPL's: use SMPL's own model file")
    return parents


def _hands(values: dict[Any, Any], path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    if any(values.get(key) is None for key in OPTIONAL[1:]):
        return None
    left, right, left_mean, right_mean = (_numbers(values[key], key, path) for key in OPTIONAL[1:])
    sound = all(a.ndim == 2 and a.shape[1] == 45 and len(a) >= 6 for a in (left, right))
    if not sound or left_mean.size != 45 or right_mean.size != 45:
        raise UserError(f"{path}: hands_components* and hands_mean* are no 45 numbers each: use the whole model file")
    return left, right, left_mean.reshape(-1), right_mean.reshape(-1)
