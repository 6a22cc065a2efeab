"""The body as binary glTF 2.0 (.glb): at one pose, or skinned and animated, with its texture map.

The sky is +y there, as glTF wants it. Colors are unlit, since a texture map holds the light of its photographs.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from PIL import Image
from scipy.spatial.transform import Rotation

from na_ray.capture.image import Map
from na_ray.capture.rig import Pose, Rig
from na_ray.config.values import UserError
from na_ray.version import __version__

FLOAT, USHORT, UINT = 5126, 5123, 5125
"""glTF's numbers of its types."""
LEAST_WEIGHT = 1e-5
"""Smaller skinning weights are left out."""
RIGID = 1e-3
"""How far a joint's transform may be from a rotation."""


@dataclass(frozen=True)
class Joints:
    """Which joint moves which."""

    names: Sequence[str]
    parents: Sequence[int]
    """-1 for a root."""

    @classmethod
    def unknown(cls, count: int) -> "Joints":
        """Where nobody says: each joint on its own."""
        return cls([f"joint_{i}" for i in range(count)], [-1] * count)


@dataclass
class _Document:
    """The parts of a glTF file as they come together."""

    data: bytearray = field(default_factory=bytearray)
    views: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)

    def view(self, content: bytes) -> int:
        """Add bytes, aligned to four."""
        self.data.extend(bytes(-len(self.data) % 4))
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)})
        self.data.extend(content)
        return len(self.views) - 1

    def array(self, values: np.ndarray, kind: int, shape: str, bounds: bool = False) -> int:
        """Add an array of one of glTF's shapes (`SCALAR`, `VEC3`, ...), with its least and greatest if asked for."""
        stored = np.ascontiguousarray(values, {FLOAT: "<f4", USHORT: "<u2", UINT: "<u4"}[kind])
        found = {"bufferView": self.view(stored.tobytes()), "componentType": kind, "count": len(stored), "type": shape}
        if bounds:
            rows = stored.reshape(len(stored), -1)
            found |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.accessors.append(found)
        return len(self.accessors) - 1


def write_glb(
    path: Path,
    rig: Rig,
    poses: Sequence[Pose],
    texture: Map,
    fps: float = 25.0,
    up: Float[np.ndarray, "3"] | Sequence[float] = (0.0, 1.0, 0.0),
    joints: Joints | None = None,
) -> None:
    """Write the textured mesh: of one pose as it is; of several skinned, with an animation of so many frames a second.

    `up`: the sky's direction in the world of the poses. Raises UserError where joints are not moved by rotations and
    translations, which is all that glTF's skins know.
    """
    document = _Document()
    vertex, uv, faces = _corners(rig)
    joints = joints or Joints.unknown(rig.num_joints)
    upright = _upright(np.asarray(up, np.float64))
    animated = len(poses) > 1
    positions = rig.vertices if animated else _posed(rig, poses[0]) @ upright.as_matrix().T
    attributes = {
        "POSITION": document.array(positions[vertex], FLOAT, "VEC3", bounds=True),
        "NORMAL": document.array(_normals(positions, rig.faces)[vertex], FLOAT, "VEC3"),
        "TEXCOORD_0": document.array(np.stack([uv[:, 0], 1 - uv[:, 1]], 1), FLOAT, "VEC2"),
    }
    mesh_node: dict[str, Any] = {"name": "body", "mesh": 0}
    scene: dict[str, Any] = {"nodes": [mesh_node], "scenes": [{"nodes": [0]}]}
    if animated:
        attributes |= _influences(document, rig.weights[vertex])
        mesh_node["skin"] = 0
        scene = _skinned(document, mesh_node, joints, poses, fps, upright)
    png = BytesIO()
    Image.fromarray(texture).save(png, format="PNG")
    indices = document.array(faces.reshape(-1), UINT, "SCALAR")
    contents = {
        "asset": {"version": "2.0", "generator": f"na_ray {__version__}"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        **scene,
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "materials": [
            {
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
                "extensions": {"KHR_materials_unlit": {}},
                "doubleSided": True,
            }
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": document.view(png.getvalue()), "mimeType": "image/png"}],
        "accessors": document.accessors,
        "bufferViews": document.views,
        "buffers": [{"byteLength": len(document.data)}],
    }
    path.write_bytes(_packed(contents, bytes(document.data)))


def _packed(contents: dict[str, Any], data: bytes) -> bytes:
    """The two chunks of a .glb."""
    text = json.dumps(contents, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data += bytes(-len(data) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data


def _corners(rig: Rig) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n 2"], Int[np.ndarray, "f 3"]]:
    """Vertices as glTF has them: one for each pair of a vertex and a texture coordinate; and the faces of those."""
    pairs = np.stack([rig.faces.reshape(-1), rig.uv_faces.reshape(-1)], axis=1)
    unique, faces = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], rig.uv[unique[:, 1]], faces.reshape(-1, 3)


def _upright(up: Float64[np.ndarray, "3"]) -> Rotation:
    """The shortest turn that brings `up` to +y."""
    up = up / np.linalg.norm(up)
    if up[1] < -1 + 1e-9:
        return Rotation.from_rotvec([np.pi, 0, 0])
    axis = np.cross(up, [0, 1, 0])
    sine = np.linalg.norm(axis)
    return Rotation.identity() if sine < 1e-12 else Rotation.from_rotvec(axis / sine * np.arctan2(sine, up[1]))


def _posed(rig: Rig, pose: Pose) -> Float64[np.ndarray, "v 3"]:
    """World vertices: the blend of the joints' transforms."""
    blended = np.einsum("vj,jab->vab", rig.weights.astype(np.float64), pose.joints_RT.astype(np.float64))
    local = np.einsum("vab,vb->va", blended[:, :3, :3], rig.vertices) + blended[:, :3, 3]
    return local @ pose.rotation.astype(np.float64) + pose.translation


def _normals(positions: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float64[np.ndarray, "v 3"]:
    """Of the vertices, weighted by the faces' areas."""
    corners = positions[faces].astype(np.float64)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(positions), 3))
    np.add.at(total, faces, flat[:, None])
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(lengths > 0, total / np.maximum(lengths, 1e-30), (0.0, 1.0, 0.0))


def _influences(document: _Document, weights: Float[np.ndarray, "n j"]) -> dict[str, int]:
    """The joints that move each vertex, strongest first, four an attribute: as many attributes as the most need."""
    kept = np.where(weights < LEAST_WEIGHT, 0.0, weights.astype(np.float64))
    kept /= kept.sum(1, keepdims=True)
    sets = -(-int((kept > 0).sum(1).max()) // 4)
    order = np.argsort(-kept, axis=1, kind="stable")[:, : 4 * sets]
    chosen = np.take_along_axis(kept, order, axis=1)
    missing = 4 * sets - order.shape[1]  # of a body of fewer joints
    order, chosen = (np.pad(a, ((0, 0), (0, missing))) for a in (order, chosen))
    order[chosen == 0] = 0
    found = {}
    for i in range(sets):
        part = slice(4 * i, 4 * i + 4)
        found[f"JOINTS_{i}"] = document.array(order[:, part], USHORT, "VEC4")
        found[f"WEIGHTS_{i}"] = document.array(chosen[:, part], FLOAT, "VEC4")
    return found


def _skinned(
    document: _Document,
    mesh_node: dict[str, Any],
    joints: Joints,
    poses: Sequence[Pose],
    fps: float,
    upright: Rotation,
) -> dict[str, Any]:
    """Nodes, skin and animation. Node 0 is the mesh, node 1 turns the sky to +y, the joints follow."""
    count, first = len(joints.names), 2
    rest = _rest_joints(poses[0])
    turns, places = _local(poses, joints.parents, rest)
    nodes: list[dict[str, Any]] = [mesh_node, {"name": "world", "rotation": upright.as_quat().tolist(), "children": []}]
    samplers, channels = [], []
    times = document.array(np.arange(len(poses)) / fps, FLOAT, "SCALAR", bounds=True)
    nodes += [
        {"name": joints.names[j], "rotation": turns[0, j].tolist(), "translation": places[0, j].tolist()}
        for j in range(count)
    ]
    for j in range(count):
        nodes[first + joints.parents[j] if joints.parents[j] >= 0 else 1].setdefault("children", []).append(first + j)
        for target, values, shape in (("rotation", turns[:, j], "VEC4"), ("translation", places[:, j], "VEC3")):
            if np.ptp(values, axis=0).max() < 1e-7:
                continue
            samplers.append({"input": times, "output": document.array(values, FLOAT, shape), "interpolation": "LINEAR"})
            channels.append({"sampler": len(samplers) - 1, "target": {"node": first + j, "path": target}})
    inverse = np.tile(np.eye(4), (count, 1, 1))
    inverse[:, :3, 3] = -rest
    # glTF stores matrices by columns.
    matrices = document.array(inverse.transpose(0, 2, 1).reshape(count, 16), FLOAT, "MAT4")
    return {
        "nodes": nodes,
        "scenes": [{"nodes": [0, 1]}],
        "skins": [{"inverseBindMatrices": matrices, "joints": list(range(first, first + count))}],
        "animations": [{"name": "motion", "samplers": samplers, "channels": channels}],
    }


def _rest_joints(pose: Pose) -> Float64[np.ndarray, "j 3"]:
    """Where the joints lie in the canonical mesh: those of the pose, un-posed."""
    local = (pose.joints.astype(np.float64) - pose.translation) @ np.linalg.inv(pose.rotation.astype(np.float64))
    points = np.concatenate([local, np.ones((len(local), 1))], axis=1)
    return np.linalg.solve(pose.joints_RT.astype(np.float64), points[..., None])[:, :3, 0]


def _local(
    poses: Sequence[Pose], parents: Sequence[int], rest: Float64[np.ndarray, "j 3"]
) -> tuple[Float64[np.ndarray, "t j 4"], Float64[np.ndarray, "t j 3"]]:
    """Each joint's rotation (x, y, z, w) and translation relative to its parent's, by frame."""
    world = np.tile(np.eye(4), (len(poses), len(parents), 1, 1))
    for t, pose in enumerate(poses):
        placed = np.eye(4)
        placed[:3, :3], placed[:3, 3] = pose.rotation.T, pose.translation
        world[t] = placed @ pose.joints_RT.astype(np.float64)
    # The joint's own place is its origin.
    world[..., :3, 3] += np.einsum("tjab,jb->tja", world[..., :3, :3], rest)
    error = np.abs(world[..., :3, :3] @ world[..., :3, :3].swapaxes(-1, -2) - np.eye(3)).max()
    if error > RIGID:
        raise UserError(
            f"the joints are scaled or sheared (by {error:.3g}): glb holds rotations and translations: use ply"
        )
    local = world.copy()
    for j, parent in enumerate(parents):
        if parent >= 0:
            local[:, j] = np.linalg.solve(world[:, parent], world[:, j])
    turns = Rotation.from_matrix(local[..., :3, :3].reshape(-1, 3, 3)).as_quat().reshape(*local.shape[:2], 4)
    for t in range(1, len(poses)):  # neighbors on one side: what lies between is interpolated the short way
        turns[t] *= np.where((turns[t] * turns[t - 1]).sum(-1, keepdims=True) < 0, -1, 1)
    return turns, local[..., :3, 3]
