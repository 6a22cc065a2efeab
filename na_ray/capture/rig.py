"""The skinned body as files describe it, and the pose of one frame.

Symbols: V vertices, F faces, T texture coordinates, J joints. Lengths are metres.
Skinning: x_norm = (sum_j w_j A_j x_canonical), x_world = x_norm @ rotation + translation, A_j = `joints_RT[j]`.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from na_ray.capture.obj import read_obj
from na_ray.capture.storage import read_text
from na_ray.capture.text import numbers_of
from na_ray.config.values import UserError


@dataclass(frozen=True, eq=False)
class Rig:
    """A body in its canonical pose, with everything that skinning and texturing need."""

    vertices: Float32[np.ndarray, "v 3"]
    """Canonical positions."""
    faces: Int64[np.ndarray, "f 3"]
    """Vertices of each triangle."""
    uv: Float32[np.ndarray, "t 2"]
    """Texture coordinates, origin at the bottom left of the map."""
    uv_faces: Int64[np.ndarray, "f 3"]
    """Texture coordinates of each triangle; face k is face k of `faces`."""
    weights: Float32[np.ndarray, "v j"]
    """Skinning weights; the rows sum to one."""
    tpose: Float32[np.ndarray, "j 4 4"]
    """Canonical pose to T pose, joint first."""

    @property
    def num_joints(self) -> int:
        """J, as the skinning weights say."""
        return self.weights.shape[1]


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the tracked body is at one frame."""

    joints_RT: Float32[np.ndarray, "j 4 4"]
    """Canonical to posed, un-rotated space; joint first (the files hold 4x4xJ)."""
    rotation: Float32[np.ndarray, "3 3"]
    """As stored, transposed: world = v @ rotation + translation."""
    translation: Float32[np.ndarray, "3"]
    """Of the root, in the world."""
    joints: Float32[np.ndarray, "j 3"]
    """Joint positions in the world."""
    pose: Float32[np.ndarray, "n"] | None = None
    """Axis-angle rotation of each joint relative to its parent, 3J numbers; None where the file has none."""

    @classmethod
    def from_json(cls, source: str | bytes | dict[str, Any], where: str) -> "Pose":
        """Read a `transform/*.json`. Raises UserError, naming `where` and the field."""
        values = source if isinstance(source, dict) else parse_json(source, where)
        joints = _array(values, "joints", where, ("J", 3))
        count = len(joints)
        joints_RT = _array(values, "joints_RT", where, (4, 4, count))
        translation = _array(values, "translation", where, (3,), (1, 3)).reshape(3)
        pose = None
        if "pose" in values:
            pose = pad_pose(_array(values, "pose", where).reshape(-1), count, where)
        rotation = _array(values, "rotation", where, (3, 3))
        return cls(np.ascontiguousarray(joints_RT.transpose(2, 0, 1)), rotation, translation, joints, pose)


def pad_pose(pose: Float32[np.ndarray, "n"], num_joints: int, where: str) -> Float32[np.ndarray, "m"]:
    """Left-pad a pose that leaves out the root (69 numbers of 72 in SMPL) with zeros."""
    if len(pose) == 3 * num_joints - 3:
        return np.concatenate([np.zeros(3, np.float32), pose])
    if len(pose) != 3 * num_joints:
        expected = f"{3 * num_joints} numbers (or {3 * num_joints - 3}, without the root)"
        raise UserError(f"{where}: pose holds {len(pose)} numbers; expected {expected}: export this frame again")
    return pose


def parse_json(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises UserError with the file and the line."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # thousands of digits or brackets are neither's own kind
        raise UserError(f"{where}: unreadable JSON ({error}): export this file again") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object, found a {type(values).__name__}: export this file again")
    return values


def _array(values: dict[str, Any], key: str, where: str, *shapes: tuple[int | str, ...]) -> Float32[np.ndarray, "..."]:
    """The numbers under `key`, of one of the shapes (a letter stands for any length), as float32."""
    if key not in values:
        raise UserError(f"{where}: key {key!r} is missing; it has {', '.join(values) or 'none'}: export it again")
    expected = " or ".join("x".join(map(str, s)) for s in shapes) or "a list"
    try:
        array = np.asarray(values[key], dtype=np.float32)
    except (ValueError, TypeError):
        raise UserError(f"{where}: {key} is no array of numbers; expected {expected}: export it again") from None
    found = "x".join(map(str, array.shape)) or "a single number"
    if shapes and not any(_fits(array.shape, shape) for shape in shapes):
        raise UserError(f"{where}: {key} is {found}; expected {expected}: export it again")
    if not np.isfinite(array).all():
        raise UserError(f"{where}: {key} holds numbers that are not finite; expected finite ones: export it again")
    return array


def _fits(found: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    return len(found) == len(expected) and all(
        isinstance(e, str) or f == e for f, e in zip(found, expected, strict=True)
    )


def read_tpose(path: str) -> Float32[np.ndarray, "j 4 4"]:
    """`joints_RT` of transform_tpose.json, joint first."""
    joints_RT = _array(parse_json(read_text(path), path), "joints_RT", path, (4, 4, "J"))
    return np.ascontiguousarray(joints_RT.transpose(2, 0, 1))


def read_matrix(path: str) -> Float[np.ndarray, "rows columns"]:
    """A text matrix of any size in float64; rows on lines, numbers between blanks or commas.

    Raises UserError with the line that is no number or has another count than the first.
    """
    text = read_text(path).replace(",", " ")
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UserError(f"{path}: the file is empty; expected a matrix: copy it again")
    columns = len(lines[0][1].split())
    values = numbers_of(" ".join(line for _, line in lines))
    if values is None or any(len(line.split()) != columns for _, line in lines):
        for n, line in lines:
            if numbers_of(line) is None:
                raise UserError(f"{path}, line {n}: {line.strip()[:40]!r} is no row of numbers: copy the file again")
            if len(line.split()) != columns:
                found = f"{len(line.split())} numbers; expected {columns}, as on the first line"
                raise UserError(f"{path}, line {n}: {found}: copy the file again")
    assert values is not None
    return values.reshape(len(lines), columns)


def read_weights(path: str) -> Float32[np.ndarray, "v j"]:
    """Skinning weights: one line per vertex, one column per joint. Raises UserError with the line."""
    return read_matrix(path).astype(np.float32)


def read_rig(canonical: str, uvmapping: str, weights: str, tpose: str) -> Rig:
    """Read the four body files. Raises UserError where one is unreadable or they do not belong together."""
    vertices, faces, _, _ = read_obj(canonical)
    places, mapped, uv, uv_faces = read_obj(uvmapping)
    if len(uv_faces) == 0:
        raise UserError(f"{uvmapping}: the faces have no texture coordinates; expected 'f 1/1 2/2 3/3'")
    if len(uv_faces) != len(faces):
        found = f"{len(uv_faces)} faces, but {canonical} has {len(faces)}"
        raise UserError(f"{uvmapping}: {found}; expected the same faces in the same order: export both from one mesh")
    different = np.flatnonzero((mapped != faces).any(axis=1))
    if len(different) and not _same_triangles(vertices, faces, places, mapped):
        found = f"face {different[0]} has vertices {(mapped[different[0]] + 1).tolist()}"
        expected = f"{(faces[different[0]] + 1).tolist()}, as in {canonical}"
        if len(places) > len(vertices):
            more = f"its {len(places)} vertices for {len(vertices)} look split at the seams"
            expected += f" ({more}, as trimesh and glTF do: keep the vertices' order)"
        raise UserError(f"{uvmapping}: {found}; expected {expected}: export both from one mesh")
    skinning = read_weights(weights)
    if len(skinning) != len(vertices):
        found = f"{len(skinning)} rows, but {canonical} has {len(vertices)} vertices"
        raise UserError(f"{weights}: {found}; expected one row per vertex: copy the file of this mesh")
    rest = read_tpose(tpose)
    if len(rest) != skinning.shape[1]:
        found = f"joints_RT has {len(rest)} joints, but {weights} has {skinning.shape[1]} columns"
        raise UserError(f"{tpose}: {found}; expected the same joints: copy both files of one body")
    return Rig(vertices, faces, uv, uv_faces, skinning, rest)


def _same_triangles(vertices: np.ndarray, faces: np.ndarray, places: np.ndarray, mapped: np.ndarray) -> bool:
    """Whether two meshes of differently numbered vertices have the same corners in the same order.

    So it is where a program split the vertices at the seams of the texture, or renumbered them.
    """
    extent = float(np.ptp(vertices, axis=0).max())
    # Texts of six decimals, and of programs that write fewer.
    return bool(np.abs(vertices[faces] - places[mapped]).max() <= 1e-4 * extent)
