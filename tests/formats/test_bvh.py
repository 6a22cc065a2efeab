"""BVH in every dialect, beside a naive float64 reading and another program's; damaged files are one line."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from na_ray.formats.bvh import read_bvh

REAL = Path(__file__).parents[1] / "data" / "motions" / "rotation_first_root.bvh"

HIERARCHY = """HIERARCHY
ROOT Hips
{
  OFFSET 0 1 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Upper Leg
  {
    OFFSET 1 -2 0.5
    CHANNELS 3 Yrotation Xrotation Zrotation
    End Site
    {
      OFFSET 0 -2 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0333333
1 2 3 10 20 30 40 50 60
2 2 4 -10 5 7 90 0 15
"""


def turn(letter: str, degrees: float) -> np.ndarray:
    """The rotation about an axis, written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "X": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "Y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "Z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[letter]


def read(tmp_path: Path, text: str):
    path = tmp_path / "m.bvh"
    path.write_text(text)
    return read_bvh(str(path))


def test_joints_are_where_the_formula_puts_them(tmp_path: Path) -> None:
    clip = read(tmp_path, HIERARCHY)
    assert clip.skeleton.names == ("Hips", "Upper Leg") and clip.skeleton.parents == (-1, 0)
    assert clip.fps == 30 and clip.num_frames == 2 and not clip.notes
    G, p = clip.world()
    for i, row in enumerate(([1, 2, 3, 10, 20, 30, 40, 50, 60], [2, 2, 4, -10, 5, 7, 90, 0, 15])):
        root = turn("Z", row[3]) @ turn("X", row[4]) @ turn("Y", row[5])
        np.testing.assert_allclose(G[i, 0], root, atol=1e-12)
        np.testing.assert_allclose(
            G[i, 1], root @ turn("Y", row[6]) @ turn("X", row[7]) @ turn("Z", row[8]), atol=1e-12
        )
        np.testing.assert_allclose(p[i], [row[:3], row[:3] + root @ [1, -2, 0.5]], atol=1e-12)


def test_channels_of_the_root_stand_in_any_order() -> None:
    clip = read_bvh(str(REAL))
    G, p = clip.world()
    np.testing.assert_allclose(p[0, 0], [10, 50, -20])
    np.testing.assert_allclose(G[0, 0], turn("Z", 5) @ turn("X", -3) @ turn("Y", 0), atol=1e-12)
    head = p[1, 0] + turn("Z", 6) @ turn("X", -2) @ turn("Y", 2) @ [0, 10, 0]
    np.testing.assert_allclose(p[1, 1], head)


@pytest.mark.parametrize("name", ["cmu_12_01_walk.bvh", "y_up_chest.bvh", "rotation_first_root.bvh"])
def test_real_files_are_read_as_another_program_reads_them(name: str) -> None:
    pybvh = pytest.importorskip("pybvh")
    path = REAL.with_name(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it rounds the time of a frame, and says so
        theirs = pybvh.read_bvh_file(str(path))
    clip = read_bvh(str(path))
    assert list(clip.skeleton.names) == list(theirs.joint_names)
    np.testing.assert_allclose(clip.world()[1], theirs.joint_positions(), atol=1e-5)


def test_positions_on_other_joints_count_where_they_say_something(tmp_path: Path) -> None:
    text = HIERARCHY.replace("CHANNELS 3 Y", "CHANNELS 6 Xposition Yposition Zposition Y")
    same = text.replace(" 40 50 60", " 1 -2 0.5 40 50 60").replace(" 90 0 15", " 1 -2 0.5 90 0 15")
    clip = read(tmp_path, same)
    assert list(clip.offsets) == [0] and not clip.notes
    np.testing.assert_allclose(clip.world()[1], read(tmp_path, HIERARCHY).world()[1], atol=1e-12)
    moved = read(tmp_path, same.replace(" 1 -2 0.5 90", " 1 -3 0.5 90"))
    G, p = moved.world()
    np.testing.assert_allclose(p[1, 1], p[1, 0] + G[1, 0] @ [1, -3, 0.5], atol=1e-12)
    assert "positions move Upper Leg against their parents" in moved.notes[0]


def test_what_other_readers_refuse(tmp_path: Path) -> None:
    text = """HIERARCHY
ROOT Armature { OFFSET 0 0 0 CHANNELS 0
JOINT Hips {
OFFSET 0 1 0
CHANNELS 5 Xposition Zposition Yposition Zrotation Yrotation
}
}
ROOT Prop
{
OFFSET 5 0 0
CHANNELS 4 Zrotation Xposition Yposition Zposition
}
MOTION
Frames:    1
Frame Time: .04
1 3 2
10 20
90 6 7 8
"""
    with pytest.raises(ValueError, match="line 2"):  # fields on the brace's line: nobody writes them
        read(tmp_path, text)
    clip = read(tmp_path, text.replace("{ OFFSET", "{\nOFFSET").replace("0 CHANNELS", "0\nCHANNELS"))
    G, p = clip.world()
    assert clip.skeleton.parents == (-1, 0, -1)
    np.testing.assert_allclose(p[0], [[0, 0, 0], [1, 2, 3], [6, 7, 8]])
    np.testing.assert_allclose(G[0, 1], turn("Z", 10) @ turn("Y", 20), atol=1e-12)
    np.testing.assert_allclose(G[0, 2], turn("Z", 90), atol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("HIERARCHY", "HUMAN", r"m\.bvh, line 1: 'HUMAN': expected HIERARCHY"),
        ("OFFSET 1 -2 0.5", "OFFSET 1 -2", r"line 8: 'OFFSET 1 -2': expected three finite numbers"),
        ("CHANNELS 3 Yrotation", "CHANNELS 4 Yrotation", r"line 9: .*: expected the channels' number and names"),
        ("Xposition Yposition Zposition Z", "Z", r"line 5: .*expected the channels' number and names"),
        ("Frames: 2", "Frames: 0", r"m\.bvh: has no frames; expected one or more"),
        ("Frames: 2", "Frames: two", r"line 17: 'Frames: two': expected Frames: and their number"),
        ("Frame Time: 0.0333333", "Frame Time: 0", r"line 18: 'Frame Time: 0': expected Frame Time"),
        (
            "2 2 4 -10 5 7 90 0 15\n",
            "2 2 4 -10",
            r"holds 13 numbers for 2 frames of 9 channels; expected 18: it is cut",
        ),
        ("2 2 4 -10", "2 2 4 nan", r"m\.bvh: frame 1 holds numbers that are not finite"),
        ("2 2 4 -10", "2 2 4 x", r"line 20: '2 2 4 x .*' is no row of numbers"),
        (HIERARCHY[HIERARCHY.index("MOTION") :], "", r"ends where MOTION was expected: it is cut short"),
        ("  }\n}\nMOTION", "}\nMOTION", r"expected ROOT, JOINT"),
        ("  }\n}\nMOTION", "  }\n}\n}\nMOTION", r"expected fewer closing braces"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert old in HIERARCHY
    with pytest.raises(ValueError, match=line) as error:
        read(tmp_path, HIERARCHY.replace(old, new))
    assert len(str(error.value).splitlines()) == 1 and str(error.value).endswith("export it again")


def test_a_root_that_goes_nowhere_is_refused(tmp_path: Path) -> None:
    still = (
        HIERARCHY.replace("6 Xposition Yposition Zposition ", "3 ").replace("\n1 2 3 ", "\n").replace("\n2 2 4 ", "\n")
    )
    with pytest.raises(ValueError, match="no joint has position channels: where the body goes is not in it"):
        read(tmp_path, still)
    with pytest.raises(FileNotFoundError, match=r"none\.bvh"):
        read_bvh(str(tmp_path / "none.bvh"))
