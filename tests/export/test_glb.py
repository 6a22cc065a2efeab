"""The body as .glb: another reader finds the mesh and the map, and its own skinning gives the posed body."""

import json
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose, Rig
from na_ray.config.values import UserError
from na_ray.export.glb import Joints, write_glb

TYPES = {5126: ("<f4", 4), 5123: ("<u2", 2), 5125: ("<u4", 4)}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
AT_REST = {"rotation": [0, 0, 0, 1], "translation": [0, 0, 0]}
CHAIN = Joints(["a", "b", "c", "d", "e"], [-1, 0, 1, 2, 3])


class Read:
    """A .glb, chunk by chunk."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON" and size % 4 == 0
        self.json: dict[str, Any] = json.loads(data[20 : 20 + size])
        rest, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0" and 28 + size + rest == len(data)
        self.binary = data[28 + size :]

    def view(self, index: int) -> bytes:
        view = self.json["bufferViews"][index]
        assert view["byteOffset"] % 4 == 0
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def array(self, index: int) -> np.ndarray:
        accessor = self.json["accessors"][index]
        kind, _ = TYPES[accessor["componentType"]]
        found = np.frombuffer(self.view(accessor["bufferView"]), kind).reshape(accessor["count"], -1)
        assert found.shape[1] == WIDTHS[accessor["type"]]
        return found.astype(np.float64)

    def globals_at(self, time: int) -> np.ndarray:
        """The matrix of every node at a key frame."""
        nodes = self.json["nodes"]
        local = []
        for i, node in enumerate(nodes):
            values = {
                k: np.array(node.get(k, default))
                for k, default in (("rotation", [0, 0, 0, 1]), ("translation", [0] * 3))
            }
            for channel in self.json["animations"][0]["channels"]:
                if channel["target"]["node"] == i:
                    sampler = self.json["animations"][0]["samplers"][channel["sampler"]]
                    values[channel["target"]["path"]] = self.array(sampler["output"])[time]
            matrix = np.eye(4)
            matrix[:3, :3] = Rotation.from_quat(values["rotation"]).as_matrix()
            matrix[:3, 3] = values["translation"]
            local.append(matrix)
        found: dict[int, np.ndarray] = {}

        def place(i: int, above: np.ndarray) -> None:
            found[i] = above @ local[i]
            for child in nodes[i].get("children", []):
                place(child, found[i])

        for root in self.json["scenes"][0]["nodes"]:
            place(root, np.eye(4))
        return np.stack([found[i] for i in range(len(nodes))])

    def skinned(self, time: int) -> np.ndarray:
        skin, matrices = self.json["skins"][0], self.globals_at(time)
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        moves = np.stack([matrices[node] @ bind for node, bind in zip(skin["joints"], inverse, strict=True)])
        attributes = self.json["meshes"][0]["primitives"][0]["attributes"]
        position = self.array(attributes["POSITION"])
        result = np.zeros_like(position)
        total = np.zeros(len(position))
        for k in range(len([a for a in attributes if a.startswith("JOINTS_")])):
            joints, weights = (self.array(attributes[f"{name}_{k}"]) for name in ("JOINTS", "WEIGHTS"))
            for i in range(4):
                move = moves[joints[:, i].astype(int)]
                result += weights[:, i : i + 1] * (np.einsum("nab,nb->na", move[:, :3, :3], position) + move[:, :3, 3])
                total += weights[:, i]
        np.testing.assert_allclose(total, 1, atol=1e-6)
        return result


def posed(rig: Rig, pose: Pose) -> np.ndarray:
    return Body.from_rig(rig).pose(pose).world_vertices.double().numpy()


@pytest.mark.parametrize("joints", [CHAIN, None])
@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)])
def test_its_skin_moves_the_mesh_as_the_body(
    capture: Capture, tmp_path: Path, joints: Joints | None, up: tuple
) -> None:
    split, rig = capture.split("training"), capture.rig
    poses = [split.pose(i) for i in range(split.num_frames)]
    texture = split.texture(0)
    write_glb(tmp_path / "a.glb", rig, poses, texture, 10.0, up, joints)
    found = Read(tmp_path / "a.glb")
    primitive = found.json["meshes"][0]["primitives"][0]
    faces = found.array(primitive["indices"])[:, 0].astype(int)
    turn = Rotation.align_vectors([[0, 1, 0]], [up])[0]
    shown = turn.apply(np.array(up))
    np.testing.assert_allclose(shown, [0, 1, 0], atol=1e-9)
    for time, pose in enumerate(poses):
        expected = posed(rig, pose)[rig.faces.reshape(-1)]
        at = found.skinned(time)[faces]
        # Any turn that brings the sky up will do: distances tell.
        np.testing.assert_allclose(at[:, 1], expected @ np.array(up), atol=1e-4)
        np.testing.assert_allclose(
            np.linalg.norm(at[:, None] - at[None, ::7], axis=2),
            np.linalg.norm(expected[:, None] - expected[None, ::7], axis=2),
            atol=1e-4,
        )
        if up == (0.0, 1.0, 0.0):
            np.testing.assert_allclose(at, expected, atol=1e-4)
    times = found.array(found.json["animations"][0]["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(times, np.arange(len(poses)) / 10, atol=1e-6)


def test_another_program_opens_one_pose(capture: Capture, tmp_path: Path) -> None:
    split, rig = capture.split("training"), capture.rig
    pose, texture = split.pose(2), split.texture(2)
    write_glb(tmp_path / "a.glb", rig, [pose], texture)
    (mesh,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    np.testing.assert_allclose(
        mesh.vertices[mesh.faces].reshape(-1, 3), posed(rig, pose)[rig.faces.reshape(-1)], atol=1e-5
    )
    found = Read(tmp_path / "a.glb")
    assert "skins" not in found.json and "animations" not in found.json
    attributes = found.json["meshes"][0]["primitives"][0]["attributes"]
    uv = found.array(attributes["TEXCOORD_0"])
    faces = found.array(found.json["meshes"][0]["primitives"][0]["indices"])[:, 0].astype(int)
    # glTF's first row is v = 0, ours v = 1.
    np.testing.assert_allclose(uv[faces] * [1, -1] + [0, 1], rig.uv[rig.uv_faces.reshape(-1)], atol=1e-6)
    picture = np.asarray(Image.open(BytesIO(found.view(found.json["images"][0]["bufferView"]))))
    assert np.array_equal(picture, texture)
    normals = found.array(attributes["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    centers = found.array(attributes["POSITION"]) - posed(rig, pose).mean(0)
    assert ((normals * centers).sum(1) > 0).mean() > 0.95, "they point outwards"


def test_more_than_four_joints_may_move_a_vertex(capture: Capture, tmp_path: Path) -> None:
    split, rig = capture.split("training"), capture.rig
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(rig.num_joints), len(rig.vertices)).astype(np.float32)
    mixed = Rig(**(vars(rig) | {"weights": weights}))
    poses = [split.pose(i) for i in (0, 3)]
    write_glb(tmp_path / "a.glb", mixed, poses, split.texture(0))
    found = Read(tmp_path / "a.glb")
    faces = found.array(found.json["meshes"][0]["primitives"][0]["indices"])[:, 0].astype(int)
    for time, pose in enumerate(poses):
        np.testing.assert_allclose(found.skinned(time)[faces], posed(mixed, pose)[rig.faces.reshape(-1)], atol=1e-4)


def test_joints_that_are_scaled_are_refused(capture: Capture, tmp_path: Path) -> None:
    pose = capture.split("training").pose(0)
    larger = pose.joints_RT * np.array([1.1, 1.1, 1.1, 1], np.float32)[:, None]
    scaled = Pose(larger, pose.rotation, pose.translation, pose.joints)
    with pytest.raises(UserError, match=r"joints are scaled or sheared \(by 0\.21\).*: use ply"):
        write_glb(tmp_path / "a.glb", capture.rig, [pose, scaled], capture.split("training").texture(0))
