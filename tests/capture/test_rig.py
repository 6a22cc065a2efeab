"""The parsers of the body's files."""

from pathlib import Path

import numpy as np
import pytest
from make_capture import column, transform, write_body

from na_ray.capture.rig import Pose, read_matrix, read_obj, read_rig, read_weights


def naive_obj(text: str) -> tuple[list, list, list, list]:
    """Line by line, one number at a time."""
    vertices, uv, faces, uv_faces = [], [], [], []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            vertices.append([float(w) for w in words[1:4]])
        if words[:1] == ["vt"]:
            uv.append([float(w) for w in words[1:3]])
        if words[:1] == ["f"]:
            corners = [w.split("/") for w in words[1:]]
            faces.append([int(c[0]) - 1 for c in corners])
            uv_faces.append([int(c[1]) - 1 for c in corners])
    return vertices, faces, uv, uv_faces


def test_a_rig_is_what_its_files_say(tmp_path: Path) -> None:
    write_body(tmp_path)
    rig = read_rig(
        *(str(tmp_path / n) for n in ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json"))
    )
    vertices, faces, uv, uv_faces = naive_obj((tmp_path / "uvmapping.obj").read_text())
    np.testing.assert_array_equal(rig.vertices, np.float32(vertices))
    np.testing.assert_array_equal(rig.faces, faces)
    np.testing.assert_array_equal(rig.uv, np.float32(uv))
    np.testing.assert_array_equal(rig.uv_faces, uv_faces)
    np.testing.assert_array_equal(rig.faces, column()[1])
    np.testing.assert_array_equal(rig.weights, np.loadtxt(tmp_path / "skinning_weight.txt", dtype=np.float32))
    assert rig.tpose.shape == (5, 4, 4) and rig.num_joints == 5


@pytest.mark.parametrize(
    ("corner", "uv"), [("{0}", False), ("{0}/{0}", True), ("{0}//{0}", False), ("{0}/{0}/{0}", True)]
)
def test_every_form_of_a_corner(tmp_path: Path, corner: str, uv: bool) -> None:
    path = tmp_path / "a.obj"
    lines = ["# comment", "mtllib a.mtl", *(f"v {i} 0 1e-1 " for i in range(4)), *(f"vt 0.{i} 1 0" for i in range(4))]
    lines += ["vn 0 0 1"] * 4 + [
        "s off",
        *(f"f {' '.join(corner.format(i) for i in f)}" for f in ((1, 2, 3), (4, 3, 2))),
    ]
    path.write_text("\r\n".join(lines))
    vertices, faces, texture, uv_faces = read_obj(str(path))
    np.testing.assert_array_equal(vertices, np.float32([[i, 0, 0.1] for i in range(4)]))
    np.testing.assert_array_equal(faces, [[0, 1, 2], [3, 2, 1]])
    np.testing.assert_array_equal(texture, np.float32([[i / 10, 1] for i in range(4)]))
    np.testing.assert_array_equal(uv_faces, faces if uv else np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("f 1 2", "line 4: 'f 1 2': expected three corners"),
        ("f 1/1 2 3", "line 4: 'f 1/1 2 3': expected a triangle like the first face's"),
        ("f 1 2 x", "line 4: 'f 1 2 x': expected a triangle"),
        ("f 1 2 -4", "line 4: 'f 1 2 -4' names vertices that do not exist; expected 1..3"),
        ("v 1 2", "line 4: 'v 1 2': expected 3 numbers"),
        ("v 1 2 3 4 5", "line 4: 'v 1 2 3 4 5': expected 3 numbers"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "a.obj"
    path.write_text(
        f"v 0 0 0\nv 1 0 0\nv 0 1 0\n{line}\nf 1 2 3\n" if line[0] == "v" else f"v 0 0 0\nv 1 0 0\nv 0 1 0\n{line}\n"
    )
    if line == "f 1/1 2 3":
        path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2 3\n")
    with pytest.raises(ValueError, match=complaint):
        read_obj(str(path))


def test_a_mesh_without_faces_and_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match="the mesh has no faces"):
        read_obj(str(tmp_path / "a.obj"))
    (tmp_path / "b.obj").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="expected a text file, found binary data"):
        read_obj(str(tmp_path / "b.obj"))


def test_matrices_of_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1 2e-3 -3\n\n 4, 5, 6 \r\n")
    np.testing.assert_array_equal(read_matrix(str(path)), [[1, 2e-3, -3], [4, 5, 6]])
    for text, complaint in (
        ("1 2\n3 x\n", "line 2: '3 x' is no row of numbers"),
        ("1 2\n\n3\n", "line 3: 1 numbers; expected 2, as on the first line"),
        ("1 2\n3\n4 5 6\n", "line 2: 1 numbers"),
        ("\n", "the file is empty"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read_weights(str(path))


def test_translation_in_both_shapes_and_no_pose() -> None:
    values = {**transform(3), "translation": transform(3)["translation"][0]}
    del values["pose"]
    pose = Pose.from_json(values, "a.json")
    np.testing.assert_allclose(pose.translation, transform(3)["translation"][0], atol=1e-7)
    assert pose.pose is None and pose.joints_RT.shape == (5, 4, 4)
    np.testing.assert_allclose(pose.joints_RT[2], np.array(transform(3)["joints_RT"])[:, :, 2], atol=1e-7)
