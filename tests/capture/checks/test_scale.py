"""Units and axes that disagree: what is measured, and the cause that is named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_capture import JOINTS, rewrite_zip, transform, write_tiny_capture
from scipy.spatial.transform import Rotation

from na_ray.capture.checks.defects import examine
from na_ray.capture.checks.scale import rest_joints
from na_ray.capture.rig import Pose

Change = Callable[[Path], object]
FRAMES = 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(
        tmp_path_factory.mktemp("whole") / "c", frames=FRAMES, resolution=(48, 48), splits=("training",)
    )


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "capture")


def cameras(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(root: Path) -> None:
        for path in (root / "pose").iterdir():
            np.savetxt(path, change(np.loadtxt(path)), fmt="%.8f")

    return apply


def moved(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pose: np.vstack([np.hstack([pose[:3, :3], factor * pose[:3, 3:]]), pose[3:]])


def poses(**changes: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(root: Path) -> None:
        new = {}
        for f in range(FRAMES):
            values = transform(f)
            new[f"{f:06d}.json"] = json.dumps(values | {k: c(np.array(values[k])).tolist() for k, c in changes.items()})
        rewrite_zip(root / "training/transform.zip", new)

    return apply


OPENGL = np.diag([1.0, -1, -1, 1])
TO_Z_UP = np.vstack(
    [np.hstack([Rotation.from_euler("x", 90, degrees=True).as_matrix(), np.zeros((3, 1))]), [[0, 0, 0, 1]]]
)

DEFECTS: dict[str, tuple[Change, str]] = {
    "cameras in mm": (
        cameras(moved(1000)),
        "spans 0.0.* px of the 48x48.*1000 times too large .millimetres.",
    ),
    "cameras in cm": (
        cameras(moved(100)),
        "positions seem to be 100 times too large .centimetres.: divide",
    ),
    "cameras in a scale of their own": (cameras(moved(0.1)), "10 times too small: multiply them by 10"),
    "cameras of OpenGL": (cameras(lambda p: p @ OPENGL), "OpenGL's .* multiply columns 2 and 3 by -1"),
    "cameras of OpenGL in cm": (
        cameras(lambda p: moved(100)(p @ OPENGL)),
        "OpenGL's .*; and their positions are 100 times",
    ),
    "world-to-camera": (cameras(np.linalg.inv), "they seem to be the inverse: name the folder extrinsic/"),
    "world-to-camera in mm": (
        cameras(lambda p: np.linalg.inv(moved(1000)(p))),
        "the inverse, and their positions 1000 times too large",
    ),
    "translation in mm": (
        poses(translation=lambda t: 1000 * t),
        "values of translation seem to be 1000 times too large",
    ),
    "joints in cm": (poses(joints=lambda t: 100 * t), "values of joints seem to be 100 times too large .centimetres."),
    "a motion in cm": (
        poses(joints=lambda t: 100 * t, translation=lambda t: 100 * t),
        "values of translation and joints seem to be 100 times too large",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_units_and_axes_that_disagree_are_a_defect_with_its_cause(root: Path, name: str) -> None:
    change, expected = DEFECTS[name]
    change(root)
    (line,) = examine(root).defects
    assert str(root / "training") in line
    assert re.search(expected, line), line


def test_bones_in_another_unit_than_the_mesh(root: Path) -> None:
    def spread(joints_RT: np.ndarray) -> np.ndarray:
        joints_RT[:3, 3] = 1000 * np.linspace(0, 0.3, JOINTS)
        return joints_RT

    poses(joints_RT=spread)(root)
    (line,) = examine(root).defects
    assert "the posed body measures" in line and "scale the translations of joints_RT, or the mesh" in line


def test_a_world_with_another_axis_up(tmp_path: Path) -> None:
    root = write_tiny_capture(tmp_path / "c", frames=FRAMES, resolution=(48, 48), splits=("training",))
    # Some metres off the origin, where a turned world no longer overlaps the other.
    away = np.array([0.0, 4.0, 6.0])
    cameras(lambda p: TO_Z_UP @ moved(1)(np.vstack([np.hstack([p[:3, :3], p[:3, 3:] + away[:, None]]), p[3:]])))(root)
    poses(joints=lambda j: j + away, translation=lambda t: t + away)(root)
    (line,) = examine(root).defects
    assert "another axis up than the body's (y or z)" in line


def test_what_may_be_meant_is_noted(root: Path) -> None:
    cameras(moved(10))(root)
    report = examine(root)
    assert report.defects == [] and "10 times too large (decimetres)" in report.notes[0]


def test_joints_of_another_frame_are_noted(root: Path) -> None:
    late = [transform(f * 17 % 40)["joints"] for f in range(FRAMES)]
    numbers = iter(late)
    poses(joints=lambda _: np.array(next(numbers)))(root)
    report = examine(root)
    assert report.defects == [] and "the joints move by" in report.notes[0]


def test_a_body_that_jumps_is_noted(root: Path) -> None:
    places = iter(np.arange(FRAMES) * 30.0)
    shift: list[float] = []

    def translation(t: np.ndarray) -> np.ndarray:
        shift.append(next(places))
        return t + np.array([[shift[-1], 0, 0]])

    poses(translation=translation, joints=lambda j: j + np.array([shift[-1], 0, 0]))(root)
    shutil.rmtree(root / "training/rgb_video")
    notes = examine(root).notes
    assert any("the body moves 30 m from frame to frame" in note for note in notes)


def test_matrices_of_smaller_pictures_are_noted(root: Path) -> None:
    for path in (root / "intrinisc").iterdir():
        K = np.loadtxt(path)
        K[:2] /= 2
        np.savetxt(path, K)
    report = examine(root)
    assert report.defects == []
    assert "principal points lie at 0.24 and 0.24" in report.notes[0] and "scale the first two rows" in report.notes[0]


def test_rest_joints_are_those_that_the_bones_carry() -> None:
    rng = np.random.default_rng(0)
    rest = rng.normal(size=(JOINTS, 3))
    bones = np.repeat(np.eye(4)[None], JOINTS, axis=0)
    bones[:, :3, :3] = Rotation.random(JOINTS, random_state=1).as_matrix()
    bones[:, :3, 3] = rng.normal(size=(JOINTS, 3))
    turn, place = Rotation.random(random_state=2).as_matrix(), rng.normal(size=3)
    joints = [(bones[j] @ [*rest[j], 1])[:3] @ turn + place for j in range(JOINTS)]
    values = {"joints": joints, "joints_RT": bones.transpose(1, 2, 0), "rotation": turn, "translation": place}
    pose = Pose.from_json({k: np.array(v).tolist() for k, v in values.items()}, "a.json")
    np.testing.assert_allclose(rest_joints(pose), rest, atol=1e-5)


INTRI = """K_0: !!opencv-matrix
   rows: 3
   data: [ 9, 0 ]
dist_0: !!opencv-matrix
   rows: 1
   cols: 5
   dt: d
   data: [ -0.21, 0.1, 0, 0, 0 ]
"""
DISTORTION: dict[str, tuple[str, str]] = {
    "intri.yml": (INTRI, "dist_0: -0.21"),
    "calibration.json": ('{"cam0": {"K": [[1, 0, 2]], "distCoeff": [0.0, 0.0, 0.003]}}', "distCoeff: 0.003"),
    "transforms.json": ('{"camera_model": "OPENCV", "k1": -0.05, "k2": 0.0}', "k1: -0.05"),
    "cameras.txt": ("# Camera list\n1 OPENCV 640 480 500 500 320 240 0.02 -0.3 0 0\n", "OPENCV: -0.3"),
    "distortion.txt": ("-0.3 0.1 0 0 0\n", "file: -0.3"),
}


@pytest.mark.parametrize("name", DISTORTION)
def test_lens_distortion_beside_the_cameras_is_told(root: Path, name: str) -> None:
    (root / name).write_text(DISTORTION[name][0])
    report = examine(root)
    assert report.defects == []
    assert f"{name}: holds lens distortion ({DISTORTION[name][1]}); cameras here have none" in report.notes[-1]


def test_coefficients_of_zero_are_not_told(root: Path) -> None:
    (root / "intri.yml").write_text("dist_0: !!opencv-matrix\n   rows: 1\n   cols: 5\n   data: [ 0., 0.0, 0, 0, 0 ]\n")
    (root / "transforms.json").write_text('{"k1": 0.0, "distortion": [0, 0]}')
    (root / "intrinisc" / "dist.txt").write_text("0 0 0 0\n")
    assert examine(root).notes == []


def test_a_calibration_of_another_program_is_named(root: Path) -> None:
    shutil.rmtree(root / "intrinisc")
    (root / "intri.yml").write_text("%YAML:1.0\n")
    (line,) = examine(root).defects
    assert "no intrinsic calibration" in line and "intri.yml is EasyMocap's (K_*" in line
