"""Skinned meshes in .glb files: one by our own export, and one by a writer of the test that shares nothing with it."""

import json
import struct

import numpy as np
import pytest
from convert.scene import NAMES, REST, tubes
from scipy.spatial.transform import Rotation

from na_ray.capture.rig import Pose, Rig
from na_ray.config.values import UserError
from na_ray.export.glb import Joints, write_glb
from na_ray.formats.rigged_glb import read_glb
from na_ray.synthetic.skeleton import NAMES as JOINTS
from na_ray.synthetic.skeleton import PARENTS

assert NAMES


def packed(contents, data):
    text = json.dumps(contents).encode()
    text += b" " * (-len(text) % 4)
    data += bytes(-len(data) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(data))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data


def centimetres(vertices, faces, weights, rest, uv_corners):
    """As Mixamo's are: z up, centimetres, an armature node that turns and shrinks; vertices split at each corner, whole
    numbers for joints and weights, an interleaved view."""
    turn = Rotation.from_rotvec([np.pi / 2, 0, 0])
    place = lambda points: 100 * turn.apply(points)  # noqa: E731
    corners = faces.reshape(-1)
    order = np.argsort(-weights, axis=1)[:, :4]
    whole = np.round(255 * np.take_along_axis(weights, order, axis=1)).astype(np.uint8)
    rows = np.zeros(len(corners), [("p", "<f4", 3), ("j", "u1", 4), ("w", "u1", 4), ("t", "<f4", 2)])
    rows["p"], rows["j"], rows["w"] = place(vertices)[corners], order[corners], whole[corners]
    rows["t"] = uv_corners.reshape(-1, 2) * [1, -1] + [0, 1]
    bind = np.tile(np.eye(4), (len(rest), 1, 1))
    bind[:, :3, 3] = -place(rest)
    data = rows.tobytes()
    views = [{"buffer": 0, "byteLength": len(data), "byteStride": rows.itemsize}]
    binds = bind.transpose(0, 2, 1).astype("<f4").tobytes()
    views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(binds)})
    count = len(corners)
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"},
        {"bufferView": 0, "byteOffset": 12, "componentType": 5121, "count": count, "type": "VEC4"},
        {"bufferView": 0, "byteOffset": 16, "componentType": 5121, "count": count, "type": "VEC4", "normalized": True},
        {"bufferView": 0, "byteOffset": 20, "componentType": 5126, "count": count, "type": "VEC2"},
        {"bufferView": 1, "componentType": 5126, "count": len(rest), "type": "MAT4"},
    ]
    nodes = [
        {"name": "Armature", "rotation": turn.inv().as_quat().tolist(), "scale": [0.01] * 3, "children": [1, 2]},
        {"name": "body", "mesh": 0, "skin": 0},
    ]
    for j, name in enumerate(JOINTS):
        above = place(rest)[PARENTS[j]] if PARENTS[j] >= 0 else 0
        children = [2 + k for k, p in enumerate(PARENTS) if p == j]
        node = {"name": f"mixamorig:{name}", "translation": (place(rest)[j] - above).tolist()}
        nodes.append(node | ({"children": children} if children else {}))
    contents = {
        "asset": {"version": "2.0"},
        "nodes": nodes,
        "skins": [{"joints": list(range(2, 26)), "inverseBindMatrices": 4}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2, "TEXCOORD_0": 3}}]},
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data) + len(binds)}],
    }
    return contents, data + binds


@pytest.fixture(scope="module")
def parts():
    vertices, faces, weights = tubes()
    uv_corners = np.random.default_rng(0).random((len(faces), 3, 2))
    return vertices, faces, weights, REST, uv_corners


def same_mesh(found, vertices, faces, weights, atol):
    """Corner by corner: the vertices may be numbered otherwise."""
    np.testing.assert_allclose(found.vertices[found.faces], vertices[faces], atol=atol)
    np.testing.assert_allclose(found.weights[found.faces], weights[faces], atol=0.01)
    assert len(found.vertices) == len(vertices)


def test_a_file_in_centimetres_with_z_up(parts, tmp_path):
    vertices, faces, weights, rest, uv_corners = parts
    (tmp_path / "a.glb").write_bytes(packed(*centimetres(*parts)))
    found = read_glb(str(tmp_path / "a.glb"))
    same_mesh(found, vertices, faces, weights, 1e-5)
    np.testing.assert_allclose(found.joints, rest, atol=1e-5)
    np.testing.assert_allclose(found.weights.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(found.uv[found.uv_faces], uv_corners, atol=1e-6)
    assert found.names[1] == "mixamorig:left_hip" and found.parents == PARENTS


def test_our_own_export_comes_back(parts, tmp_path):
    vertices, faces, weights, rest, uv_corners = parts
    rng = np.random.default_rng(1)
    uv, uv_faces = uv_corners.reshape(-1, 2), np.arange(3 * len(faces)).reshape(-1, 3)
    real = [a.astype(np.float32) for a in (vertices, uv, weights)]
    rig = Rig(real[0], faces, real[1], uv_faces, real[2], np.tile(np.eye(4, dtype=np.float32), (24, 1, 1)))
    poses = []
    for _ in range(2):
        rotation = Rotation.from_rotvec(rng.normal(size=3)).as_matrix().T
        shift = rng.normal(size=3)
        A = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
        real_pose = [a.astype(np.float32) for a in (A, rotation, shift, rest @ rotation + shift)]
        poses.append(Pose(*real_pose))
    texture = np.zeros((4, 4, 3), np.uint8)
    write_glb(tmp_path / "a.glb", rig, poses, texture, joints=Joints(JOINTS, PARENTS))
    found = read_glb(str(tmp_path / "a.glb"))
    # Its nodes hold the first pose: a rest that is moved as a whole is the same rest.
    middle = lambda points: points - found.joints[0]  # noqa: E731
    assert np.allclose(np.linalg.norm(middle(found.joints), axis=1), np.linalg.norm(rest - rest[0], axis=1), atol=1e-5)
    R, _ = Rotation.align_vectors(middle(found.joints), rest - rest[0])
    same = R.inv().apply(middle(found.vertices[found.faces]).reshape(-1, 3)) + rest[0]
    np.testing.assert_allclose(same.reshape(-1, 3, 3), vertices[faces], atol=1e-5)
    np.testing.assert_allclose(found.uv[found.uv_faces], uv_corners, atol=1e-6)
    assert found.names == tuple(JOINTS) and found.parents == PARENTS


def volume(found):
    """What the faces enclose, m^3: above 0 where they look outwards."""
    a, b, c = found.vertices[found.faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("scale", [[0.01] * 3, [-0.01, 0.01, 0.01], [-0.01] * 3])
def test_a_mesh_that_is_mirrored_is_not_inside_out(scale, parts, tmp_path):
    contents, data = centimetres(*parts)
    contents["nodes"][0]["scale"] = scale
    (tmp_path / "a.glb").write_bytes(packed(contents, data))
    found = read_glb(str(tmp_path / "a.glb"))
    assert volume(found) == pytest.approx(0.02185, rel=1e-3)
    assert np.sign(found.joints[1][0]) == np.sign(scale[0])  # the left hip: what is mirrored stays so


def split(contents, faces, first, skin=0):
    """The body as two meshes of two nodes, `first` faces in the one that stands first; vertices are three a face."""
    attributes = contents["meshes"][0]["primitives"][0]["attributes"]
    pieces = []
    for start, stop in ((0, first), (first, len(faces))):
        piece = {}
        for name, number in attributes.items():
            whole = contents["accessors"][number]
            offset = whole.get("byteOffset", 0) + 3 * start * contents["bufferViews"][0]["byteStride"]
            piece[name] = len(contents["accessors"])
            contents["accessors"].append(whole | {"byteOffset": offset, "count": 3 * (stop - start)})
        pieces.append({"primitives": [{"attributes": piece}]})
    contents["meshes"] = pieces
    contents["nodes"][1]["name"] = "eyes"
    contents["nodes"].append({"name": "body", "mesh": 1, "skin": skin})


def test_meshes_of_one_skeleton_are_one_body(parts, tmp_path):
    vertices, faces, weights, rest, uv_corners = parts
    contents, data = centimetres(*parts)
    split(contents, faces, 30)
    (tmp_path / "a.glb").write_bytes(packed(contents, data))
    found = read_glb(str(tmp_path / "a.glb"))
    same_mesh(found, vertices, faces, weights, 1e-5)
    np.testing.assert_allclose(found.uv[found.uv_faces], uv_corners, atol=1e-6)
    np.testing.assert_allclose(found.joints, rest, atol=1e-5)
    assert found.meshes == ("eyes", "body")


def test_coarser_meshes_of_the_same_are_left_out(parts, tmp_path):
    vertices, faces, weights, *_ = parts
    contents, data = centimetres(*parts)
    contents["nodes"].append({"name": "Body_LOD2", "mesh": 0, "skin": 0})
    (tmp_path / "a.glb").write_bytes(packed(contents, data))
    found = read_glb(str(tmp_path / "a.glb"))
    same_mesh(found, vertices, faces, weights, 1e-5)
    assert len(found.faces) == len(faces) and found.meshes == ("body",)


def with_skin(contents, data, joints, binds):
    """A second skin, of these joints and inverse bind matrices (rows of bytes as the file has them)."""
    contents["bufferViews"].append({"buffer": 0, "byteOffset": len(data), "byteLength": binds.nbytes})
    whole = {"bufferView": 2, "componentType": 5126, "count": len(joints), "type": "MAT4"}
    contents["accessors"].append(whole)
    contents["skins"].append({"joints": joints, "inverseBindMatrices": len(contents["accessors"]) - 1})
    contents["buffers"][0]["byteLength"] += binds.nbytes
    return data + binds.tobytes()


@pytest.mark.parametrize("moved", [0.0, 40.0])
def test_skins_that_list_their_joints_otherwise(moved, parts, tmp_path):
    """The second mesh's numbers of joints belong to a longer list, in which two joints stand first that move nothing.
    Bound elsewhere, the two make no body."""
    vertices, faces, weights, rest, _ = parts
    contents, data = centimetres(*parts)
    split(contents, faces, 30, skin=1)
    start = contents["bufferViews"][1]["byteOffset"]
    binds = np.frombuffer(data[start:], "<f4").reshape(24, 4, 4).copy()
    binds[5:, 3, 0] += moved  # centimetres
    joints = contents["skins"][0]["joints"]
    data = with_skin(contents, data, [*joints, 0], np.concatenate([binds, np.zeros((1, 4, 4), "<f4")]))
    (tmp_path / "a.glb").write_bytes(packed(contents, data))
    if moved:
        with pytest.raises(UserError, match="bound in different poses"):
            read_glb(str(tmp_path / "a.glb"))
        return
    found = read_glb(str(tmp_path / "a.glb"))
    same_mesh(found, vertices, faces, np.pad(weights, ((0, 0), (0, 1))), 1e-5)
    assert len(found.names) == 25 and found.names[24] == "Armature" and found.parents[0] == 24
    np.testing.assert_allclose(found.joints[:24], rest, atol=1e-5)


@pytest.mark.parametrize("matrix", [np.zeros((4, 4)), np.diag([1.0, 2, 3, 1])])
def test_joints_that_move_nothing_do_not_say_how_the_body_rests(matrix, parts, tmp_path):
    """Their matrices may be of another pose, or none at all."""
    vertices, faces, weights, rest, uv_corners = parts
    weights = weights.copy()
    weights[:, 20] += weights[:, 22]
    weights[:, 22] = 0
    contents, data = centimetres(vertices, faces, weights, rest, uv_corners)
    start = contents["bufferViews"][1]["byteOffset"]
    binds = np.frombuffer(data[start:], "<f4").reshape(24, 4, 4).copy()
    binds[22] = matrix
    (tmp_path / "a.glb").write_bytes(packed(contents, data[:start] + binds.tobytes()))
    found = read_glb(str(tmp_path / "a.glb"))
    same_mesh(found, vertices, faces, weights, 1e-5)
    np.testing.assert_allclose(found.joints, rest, atol=1e-5)


def change(path, value):
    """Set what stands at a path of keys."""

    def breaks(contents):
        *keys, last = path
        for key in keys:
            contents = contents[key]
        if value is None:
            del contents[last]
        else:
            contents[last] = value

    return breaks


BROKEN = {
    "no skin": (change(("nodes", 1, "skin"), None), "a mesh without a skin"),
    "no mesh": (change(("nodes",), []), "no mesh"),
    "draco": (change(("extensionsRequired",), ["KHR_draco_mesh_compression"]), "compressed"),
    "strips": (change(("meshes", 0, "primitives", 0, "mode"), 5), "lines or strips"),
    "another file": (change(("buffers", 0, "uri"), "a.bin"), "in another file"),
    "sparse": (change(("accessors", 0, "sparse"), {}), "sparse"),
    "behind the end": (change(("accessors", 0, "count"), 10**9), "ends behind the file"),
    "negative": (change(("accessors", 0, "byteOffset"), -4), "ends behind the file"),
    "no numbers": (change(("accessors", 0, "componentType"), 7), "damaged"),
    "no accessor": (change(("meshes", 0, "primitives", 0, "attributes", "POSITION"), 99), "damaged"),
    "a ring": (change(("nodes", 25, "children"), [0]), "ring"),
    "no weights": (change(("meshes", 0, "primitives", 0, "attributes", "JOINTS_0"), None), "without weights"),
    "a joint twice": (change(("skins", 0, "joints"), [2, 2]), "twice the same"),
    "joints that are none": (change(("skins", 0, "joints"), [2, 3]), "weights of joints that are none"),
    "a scale of nothing": (change(("nodes", 0, "scale"), [0, 0, 0]), "scaled by"),
    "texts": (change(("nodes", 0, "scale"), "large"), "damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_told_in_a_line(name, parts, tmp_path):
    contents, data = centimetres(*parts)
    breaks, expected = BROKEN[name]
    breaks(contents)
    (tmp_path / "a.glb").write_bytes(packed(contents, data))
    with pytest.raises(UserError, match=expected) as error:
        read_glb(str(tmp_path / "a.glb"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"glTF" + bytes(30), b"PK", packed({}, b"")[:25], packed([], b"")])
def test_other_files(data, tmp_path):
    (tmp_path / "a.glb").write_bytes(data)
    with pytest.raises(UserError):
        read_glb(str(tmp_path / "a.glb"))
