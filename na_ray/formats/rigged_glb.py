"""A skinned mesh from a binary glTF 2.0 file (.glb): what Blender, Mixamo, Unreal and our own export write.

v runs downwards there, at most four weights stand in a set, and a skin moves vertices by (node of joint j) x (inverse
bind matrix of j). The rest here is the mesh as it was bound, at the size that the nodes give it.
"""

import json
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial.transform import Rotation

from na_ray.config.values import UserError
from na_ray.formats.arrays import read_small
from na_ray.formats.skinned_meshes import MOST_VERTICES, Placed, SkinnedMesh, joined, moved, welded

TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
SHAPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
LARGEST = 2**30
"""Bytes of a file."""
MOST_JOINTS = 1024
COARSER = re.compile(r"lod[ _-]?[1-9]", re.IGNORECASE)
"""Names of meshes that show the same once more, with fewer faces."""
COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization")


@dataclass(frozen=True, eq=False)
class GlbRig:
    """A mesh, its joints and weights."""

    vertices: Float64[np.ndarray, "v 3"]
    """As bound; those that were split at the seams of the texture are one again."""
    faces: Int64[np.ndarray, "f 3"]
    uv: Float64[np.ndarray, "t 2"]
    """Origin at the bottom left; empty where the file has none."""
    uv_faces: Int64[np.ndarray, "g 3"]
    weights: Float64[np.ndarray, "v j"]
    """Rows sum to one."""
    joints: Float64[np.ndarray, "j 3"]
    """Where they are as bound."""
    names: tuple[str, ...]
    parents: tuple[int, ...]
    """-1 for a root."""
    meshes: tuple[str, ...]
    """Names of the meshes that were joined."""


def read_glb(path: str) -> GlbRig:
    """The skinned mesh of a file. Raises UserError, one line, for a file without one, or that is not read."""
    contents, data = _chunks(read_small(path, LARGEST), path)
    try:
        return _Reading(contents, data, path).rig()
    # A file's numbers point anywhere.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        if isinstance(error, UserError):
            raise
        what = f"there is no {error}" if isinstance(error, KeyError | IndexError) else str(error).splitlines()[0][:100]
        raise UserError(f"{path}: damaged ({what}): export it again") from None


def _chunks(data: bytes, path: str) -> tuple[dict[str, Any], bytes]:
    """(the JSON, the binary) of a file."""
    if data[:4] != b"glTF" or len(data) < 20:
        raise UserError(f"{path}: no binary glTF; expected a .glb: export it as glTF 2.0, binary")
    version, at, chunks = struct.unpack_from("<I", data, 4)[0], 12, dict[bytes, bytes]()
    if version != 2:
        raise UserError(f"{path}: glTF {version}; expected 2: export it as glTF 2.0, binary")
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<I4s", data, at)
        chunks.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
    try:
        contents = json.loads(chunks.get(b"JSON", b""))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: unreadable JSON ({str(error)[:80]}): export it again") from None
    if not isinstance(contents, dict):
        raise UserError(f"{path}: no glTF in its JSON: export it again")
    return contents, chunks.get(b"BIN\0", b"")


class _Reading:
    """A file's contents, and what is asked of them."""

    def __init__(self, contents: dict[str, Any], data: bytes, path: str) -> None:
        self.contents, self.data, self.path = contents, data, path
        required = [str(name) for name in contents.get("extensionsRequired", [])]
        packed = next((name for name in required if name in COMPRESSED), None)
        if packed is not None:
            raise UserError(f"{path}: the mesh is compressed ({packed}): export it without compression")

    def rig(self) -> GlbRig:
        """All meshes with a skin, as one: body and clothes are often several."""
        nodes = self.contents.get("nodes", [])
        skinned = [n for n in nodes if "mesh" in n and "skin" in n]
        parts = [n for n in skinned if not COARSER.search(str(n.get("name", "")))] or skinned
        if not parts:
            found = "a mesh without a skin" if any("mesh" in n for n in nodes) else "no mesh"
            raise UserError(f"{self.path}: {found}; expected one with joints and weights: export it with its skeleton")
        parents, world = self._tree(nodes)
        skins = {int(n["skin"]): self.contents["skins"][n["skin"]] for n in parts}
        held = {number: [int(j) for j in skin["joints"]] for number, skin in skins.items()}
        if any(not joints or len(set(joints)) < len(joints) for joints in held.values()):
            raise ValueError("joints that are none, or twice the same")
        order = sorted(held.values(), key=len, reverse=True)
        joints = list(dict.fromkeys(j for each in order for j in each))
        if len(joints) > MOST_JOINTS:
            raise UserError(f"{self.path}: {len(joints)} joints; expected at most {MOST_JOINTS}: is it another file?")
        meshes = [self._mesh(self.contents["meshes"][n["mesh"]], len(held[int(n["skin"])])) for n in parts]
        placed = Placed(joints, np.stack([world[j] for j in joints]))
        for number, skin in skins.items():
            own = [i for i, n in enumerate(parts) if int(n["skin"]) == number]
            moving = np.any([meshes[i][3].any(axis=0) for i in own], axis=0)
            to_rest = placed.add(held[number], self._bind(skin, len(held[number])), moving, self.path)
            for i in own:
                meshes[i] = moved(meshes[i], to_rest, [joints.index(j) for j in held[number]], len(joints))
        whole = welded(*joined(meshes, self.path))
        names = tuple(str(nodes[j].get("name", f"joint_{i}")) for i, j in enumerate(joints))
        told = tuple(str(n.get("name", f"mesh {n['mesh']}")) for n in parts)
        return GlbRig(*whole, placed.places, names, _parents(joints, parents), told)

    def _tree(self, nodes: list[dict[str, Any]]) -> tuple[list[int], list[np.ndarray]]:
        """(parent of each node, -1 for none; its transform to the world)."""
        parents = [-1] * len(nodes)
        for i, node in enumerate(nodes):
            for child in node.get("children", []):
                parents[child] = i
        world: dict[int, np.ndarray] = {-1: np.eye(4)}
        for i in range(len(nodes)):
            above = [i]
            while parents[above[-1]] not in world:
                above.append(parents[above[-1]])
                if len(above) > len(nodes):
                    raise ValueError("nodes that form a ring")
            for j in reversed(above):
                world[j] = world[parents[j]] @ _local(nodes[j])
        return parents, [world[i] for i in range(len(nodes))]

    def _bind(self, skin: dict[str, Any], count: int) -> np.ndarray:
        if "inverseBindMatrices" not in skin:
            return np.tile(np.eye(4), (count, 1, 1))
        matrices = self._accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)[:count]
        if len(matrices) < count:
            raise ValueError("inverse bind matrices that are too few")
        return matrices

    def _mesh(self, mesh: dict[str, Any], joints: int) -> SkinnedMesh:
        """(vertices, faces, texture coordinates of the vertices, weights) of all parts together."""
        points, triangles, coordinates, influences, start = [], [], [], [], 0
        for part in mesh["primitives"]:
            if part.get("mode", 4) != 4:
                raise UserError(f"{self.path}: a mesh of lines or strips; expected triangles: export it so")
            if any(name in COMPRESSED for name in part.get("extensions", {})):
                raise UserError(f"{self.path}: the mesh is compressed: export it without compression")
            attributes = part["attributes"]
            position = self._accessor(attributes["POSITION"])
            count = len(position)
            index = self._accessor(part["indices"]) if "indices" in part else np.arange(count)
            index = index.astype(np.int64).reshape(-1)
            if len(index) % 3 or (len(index) and index.max() >= count):
                raise ValueError("faces of vertices that are none")
            points.append(position)
            triangles.append(index.reshape(-1, 3) + start)
            if "TEXCOORD_0" in attributes:
                coordinates.append(self._accessor(attributes["TEXCOORD_0"]))
            influences.append(self._weights(attributes, count, joints))
            start += count
            if start > MOST_VERTICES or sum(map(len, triangles)) > 4 * MOST_VERTICES:
                raise UserError(f"{self.path}: more than {MOST_VERTICES} vertices: export a coarser mesh")
        uv = np.concatenate(coordinates) if sum(map(len, coordinates)) == start else None
        if uv is not None:
            uv = np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1)
        return np.concatenate(points), np.concatenate(triangles), uv, np.concatenate(influences)

    def _weights(self, attributes: dict[str, Any], count: int, joints: int) -> np.ndarray:
        found = np.zeros((count, joints))
        for i in range(16):
            if f"JOINTS_{i}" not in attributes:
                break
            chosen = self._accessor(attributes[f"JOINTS_{i}"], raw=True).astype(np.int64)
            weights = self._accessor(attributes[f"WEIGHTS_{i}"])
            if chosen.shape != (count, 4) or weights.shape != (count, 4) or chosen.max(initial=0) >= joints:
                raise ValueError("weights of joints that are none")
            np.add.at(found, (np.arange(count)[:, None], chosen), weights)
        total = found.sum(axis=1, keepdims=True)
        if count and not (total > 1e-3).all():
            raise UserError(f"{self.path}: vertices without weights: bind the whole mesh to its skeleton")
        return found / np.maximum(total, 1e-12)

    def _accessor(self, number: int, raw: bool = False) -> np.ndarray:
        """(count, width) numbers as float64, those of whole numbers that stand for 0..1 brought there; `raw`: as is."""
        accessor = self.contents["accessors"][number]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise UserError(f"{self.path}: a sparse accessor, which is not read: export it without")
        kind, width, count = TYPES[accessor["componentType"]], SHAPES[accessor["type"]], int(accessor["count"])
        view = self.contents["bufferViews"][accessor["bufferView"]]
        if view.get("buffer", 0) != 0 or "uri" in self.contents["buffers"][0]:
            raise UserError(f"{self.path}: its numbers lie in another file: export it as one .glb")
        size = np.dtype(kind).itemsize * width
        stride = int(view.get("byteStride", 0)) or size
        start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
        if min(start, count, stride - size) < 0 or start + (count - 1) * stride + size > len(self.data):
            raise ValueError("an array that ends behind the file")
        window = np.frombuffer(self.data, np.uint8, max(count - 1, 0) * stride + size * (count > 0), start)
        rows = np.lib.stride_tricks.as_strided(window, (count, size), (stride, 1))
        values = np.ascontiguousarray(rows).view(kind).reshape(count, width)
        if raw:
            return values
        found = values.astype(np.float64)
        if accessor.get("normalized"):
            found = np.maximum(found / np.iinfo(values.dtype).max, -1)
        if not np.isfinite(found).all():
            raise ValueError("numbers that are not finite")
        return found


def _local(node: dict[str, Any]) -> np.ndarray:
    """A node's transform to its parent's."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    found = np.eye(4)
    rotation = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    if rotation.shape != (4,) or not np.linalg.norm(rotation) > 1e-9:
        raise ValueError("a rotation that is none")
    scale = np.array(node.get("scale", (1, 1, 1)), np.float64).reshape(3)
    found[:3, :3] = Rotation.from_quat(rotation).as_matrix() * scale
    found[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64).reshape(3)
    return found


def _parents(joints: list[int], parents: list[int]) -> tuple[int, ...]:
    """Of each joint, the nearest node above it that is one."""
    place, found = {joint: i for i, joint in enumerate(joints)}, []
    for joint in joints:
        above = parents[joint]
        while above >= 0 and above not in place:
            above = parents[above]
        found.append(place[above] if above >= 0 else -1)
    return tuple(found)
