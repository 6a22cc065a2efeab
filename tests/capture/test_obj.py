"""Meshes in every spelling of OBJ, against a reader that goes line by line."""

from pathlib import Path

import numpy as np
import pytest
from make_capture import write_body

from na_ray.capture.obj import read_obj
from na_ray.capture.rig import Rig, read_rig

BODY = ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json")


def naive(text: str) -> tuple[list, list, list, list]:
    """One line and one number at a time: (vertices, faces, uv, uv_faces)."""
    v: list = []
    vt: list = []
    f: list = []
    g: list = []
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if words[:1] == ["v"]:
            v.append([float(w) for w in words[1:4]])
        if words[:1] == ["vt"]:
            vt.append([float(w) for w in words[1:3]])
        if words[:1] == ["f"]:
            corners = [[*w.split("/"), ""] for w in words[1:]]
            f.append([int(c[0]) - 1 if int(c[0]) > 0 else len(v) + int(c[0]) for c in corners])
            if corners[0][1]:
                g.append([int(c[1]) - 1 if int(c[1]) > 0 else len(vt) + int(c[1]) for c in corners])
    return v, f, vt, g


def check(path: Path, meaning: str) -> None:
    vertices, faces, uv, uv_faces = read_obj(str(path))
    v, f, vt, g = naive(meaning)
    np.testing.assert_array_equal(vertices, np.float32(v))
    np.testing.assert_array_equal(faces, f)
    np.testing.assert_array_equal(uv, np.float32(vt).reshape(-1, 2))
    np.testing.assert_array_equal(uv_faces, np.array(g).reshape(-1, 3))


def square(corner: str) -> str:
    """Five triangles over six points; `corner` is the spelling of a corner."""
    lines = [f"v {i} {i * i} 0.5" for i in range(6)] + [f"vt 0.{i} 0.{9 - i}" for i in range(6)]
    lines += ["vn 0 0 1"] * 6
    return "\n".join([*lines, *(f"f {' '.join(corner.format(i + k) for k in (1, 2, 3))}" for i in (0, 1, 2, 3, 1))])


# The number of faces is no multiple of three: a reader that reshapes six numbers a face into nine would not notice.
@pytest.mark.parametrize("corner", ["{0}/{0}/", "{0}//", "{0}/{0}", "{0}", "{0}/{0}/{0}", "{0}//{0}"])
def test_a_corner_may_leave_out_what_it_likes(tmp_path: Path, corner: str) -> None:
    (tmp_path / "a.obj").write_text(square(corner))
    check(tmp_path / "a.obj", square(corner))


def test_faces_of_several_spellings_in_one_file(tmp_path: Path) -> None:
    text = square("{0}/{0}") + "\nf 1/1/ 2/2/ 3/3/\nf 1/1/1 3/3/3 4/4/4\n"
    (tmp_path / "a.obj").write_text(text)
    check(tmp_path / "a.obj", text)


def test_indices_count_back_from_their_face(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf -3/-3 -2/-2 -1/-1\n"
    text += "v 0 0 1\nv 1 0 1\nv 0 1 1\nvt 0 0.5\nf -3/-3 -2/-2 -1/-1\nf 1/1 -1/-1 2/2\n"
    (tmp_path / "a.obj").write_text(text)
    check(tmp_path / "a.obj", text)
    assert read_obj(str(tmp_path / "a.obj"))[1].tolist() == [[0, 1, 2], [3, 4, 5], [0, 5, 1]]


@pytest.mark.parametrize("how", ["tabs", "mac", "windows", "utf16", "gbk", "indented", "comments", "continued"])
def test_a_text_may_be_written_in_any_way(tmp_path: Path, how: str) -> None:
    text = square("{0}/{0}") + "\n"
    written = {
        "tabs": lambda: text.replace(" ", "\t").encode(),
        "mac": lambda: text.replace("\n", "\r").encode(),
        "windows": lambda: text.replace("\n", "\r\n").encode("utf-8-sig"),
        "utf16": lambda: text.encode("utf-16"),
        "gbk": lambda: ("g \u8eab\u4f53\nusemtl \u76ae\u80a4\n" + text).encode("gbk"),
        "indented": lambda: ("  " + text.replace("\n", "\n  ")).encode(),
        "comments": lambda: text.replace("\n", " # 1 2 3\n").encode(),
        "continued": lambda: "\n".join(" \\\n".join(s.rsplit(" ", 1)) for s in text.splitlines()).encode(),
    }
    (tmp_path / "a.obj").write_bytes(written[how]())
    check(tmp_path / "a.obj", text)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("f 1.5 2 3", "line 13: 'f 1.5 2 3': expected a triangle|line 13: 'f 1.5 2 3': expected whole numbers"),
        ("f 1 2 1e30", "line 13: 'f 1 2 1e30': expected"),
        ("f 1 2 -7", "line 13: 'f 1 2 -7' names vertices that do not exist; expected 1..6"),
        ("f 1 2 \\\n 9", "line 13: 'f 1 2   9' names vertices that do not exist; expected 1..6"),
        ("f 1 2 3 4", "line 13: 'f 1 2 3 4': expected three corners: triangulate"),
        ("f 1//1 //2 3//3", "line 13: 'f 1//1 //2 3//3': expected a triangle like the first face's"),
        ("f 1/1 2/2 3/3\nf 1 2 3", "line 14: 'f 1 2 3': expected a texture coordinate at each corner, as other faces"),
    ],
)
def test_a_wrong_face_is_named_by_its_true_fault(tmp_path: Path, line: str, complaint: str) -> None:
    head = square("{0}").partition("\nvn")[0]
    (tmp_path / "a.obj").write_text(f"{head}\n{line}\nf 1 2 3\n" if "/" not in line else f"{head}\n{line}\n")
    with pytest.raises(ValueError, match=complaint):
        read_obj(str(tmp_path / "a.obj"))


def body(folder: Path) -> Rig:
    return read_rig(*(str(folder / name) for name in BODY))


def test_vertices_split_at_the_seams_are_the_same_mesh(tmp_path: Path) -> None:
    write_body(tmp_path)
    plain = body(tmp_path)
    # A vertex of its own for every corner, as glTF has it.
    points = plain.vertices[plain.faces].reshape(-1, 3)
    uv = plain.uv[plain.uv_faces].reshape(-1, 2)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in points] + [f"vt {u:.6f} {v:.6f}" for u, v in uv]
    lines += [f"f {' '.join(f'{3 * k + c}/{3 * k + c}' for c in (1, 2, 3))}" for k in range(len(plain.faces))]
    (tmp_path / "uvmapping.obj").write_text("\n".join(lines))
    split = body(tmp_path)
    np.testing.assert_array_equal(split.faces, plain.faces)
    np.testing.assert_allclose(split.uv[split.uv_faces], plain.uv[plain.uv_faces], atol=1e-6)


def test_another_mesh_split_at_its_seams_is_refused_with_the_cause(tmp_path: Path) -> None:
    write_body(tmp_path)
    plain = body(tmp_path)
    lines = [f"v {i} 0 0" for i in range(3 * len(plain.faces))] + ["vt 0 0"]
    lines += [f"f {3 * k + 1}/1 {3 * k + 2}/1 {3 * k + 3}/1" for k in range(len(plain.faces))]
    (tmp_path / "uvmapping.obj").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="look split at the seams"):
        body(tmp_path)
