"""Paths of a camera."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from make_capture import rewrite_zip, transform, write_tiny_capture
from scipy.spatial.transform import Rotation

from na_ray.capture.camera import Camera
from na_ray.capture.checks.numbers import rigid_fault
from na_ray.capture.dataset import Capture
from na_ray.capture.trajectory import (
    along,
    body_center,
    from_file,
    interpolate,
    look_at,
    orbit,
    recorded,
    spiral,
    to_file,
    up_of,
)

UP = np.array([0.0, 1.0, 0.0])


def template(eye: tuple[float, float, float] = (0.0, 1.5, 3.0)) -> Camera:
    K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    return Camera("t", K, look_at(np.array(eye), np.array([0.0, 1.0, 0.0]), UP), 48, 64)


def test_look_at_puts_the_target_in_the_middle_and_up_upwards() -> None:
    cam = template()
    pixels, depth = cam.project(np.array([[0, 1.0, 0], [0, 1.3, 0], [0.3, 1.0, 0]]))
    np.testing.assert_allclose(pixels[0], [31.5, 23.5], atol=1e-9)
    assert depth[0] == pytest.approx(np.hypot(0.5, 3))
    assert pixels[1, 1] < 23.5 and pixels[2, 0] > 31.5
    assert rigid_fault(cam.T_world_camera[:3, :3]) is None
    with pytest.raises(ValueError, match="looks along the up axis"):
        look_at(np.array([0, 3.0, 0]), np.zeros(3), UP)


def test_an_orbit_is_a_circle_that_looks_at_its_center() -> None:
    center = np.array([0.2, 0.9, -0.1])
    cameras = orbit(template(), center, 12)
    radii = [np.linalg.norm((c.center - center)[[0, 2]]) for c in cameras]
    np.testing.assert_allclose(radii, radii[0], atol=1e-12)
    np.testing.assert_allclose([c.center[1] for c in cameras], 1.5)
    np.testing.assert_allclose(cameras[0].center, template().center)
    np.testing.assert_allclose(cameras[6].center - center, (center - cameras[0].center) * [1, -1, 1], atol=1e-12)
    for cam in cameras:
        np.testing.assert_allclose(cam.project(center[None])[0], [[31.5, 23.5]], atol=1e-9)
        assert rigid_fault(cam.T_world_camera[:3, :3]) is None


def test_an_orbit_follows_the_actor_and_rises() -> None:
    centers = np.stack([[0.1 * i, 1.0, 0.0] for i in range(8)])
    cameras = orbit(template(), centers, 8, turns=0, rise=0.5)
    for i, cam in enumerate(cameras):
        np.testing.assert_allclose(cam.center[0] - centers[i, 0], 0, atol=1e-12)
        assert cam.center[1] == pytest.approx(1.5 + 0.5 * np.sin(2 * np.pi * i / 8))


def test_a_spiral_stays_near_and_starts_and_ends_where_the_template_stands() -> None:
    cameras = spiral(template(), np.array([0, 1.0, 0]), 25, radius=0.4)
    reach = [np.linalg.norm(c.center - template().center) for c in cameras]
    assert max(reach) == pytest.approx(0.4, rel=0.02) and reach[0] < 1e-12 and reach[-1] < 1e-12


def test_interpolation_passes_through_the_cameras_by_rotations() -> None:
    keys = orbit(template(), np.array([0, 1.0, 0]), 6)
    path = interpolate(keys, 51)
    for i, key in enumerate(keys):
        np.testing.assert_allclose(path[10 * i].T_world_camera, key.T_world_camera, atol=1e-9)
    assert all(rigid_fault(c.T_world_camera[:3, :3]) is None for c in path)
    steps = [
        Rotation.from_matrix(a.T_world_camera[:3, :3].T @ b.T_world_camera[:3, :3]).magnitude()
        for a, b in pairwise(path)
    ]
    assert max(steps) < 1.5 * min(steps)


def test_a_closed_path_has_no_seam() -> None:
    keys = orbit(template(), np.array([0, 1.0, 0]), 5)
    path = interpolate(keys, 20, closed=True)
    np.testing.assert_allclose(path[0].T_world_camera, keys[0].T_world_camera, atol=1e-9)
    np.testing.assert_allclose(path[4].T_world_camera, keys[1].T_world_camera, atol=1e-9)
    gaps = [np.linalg.norm(a.center - b.center) for a, b in zip(path, [*path[1:], path[0]], strict=True)]
    assert max(gaps) < 1.5 * min(gaps)
    with pytest.raises(ValueError, match="needs at least two"):
        interpolate(keys[:1], 5)


def test_a_path_between_two_cameras_of_different_sizes_and_lenses() -> None:
    near, far = template(), template((0.5, 1.5, 4.0)).resized(96, 128)
    path = interpolate([near, far], 3)
    assert {(c.height, c.width) for c in path} == {(48, 64)}
    np.testing.assert_allclose(path[1].center, (near.center + far.center) / 2)


def test_recorded_cameras_and_the_world_s_up(tmp_path: Path) -> None:
    split = Capture.open(write_tiny_capture(tmp_path / "capture")).split("training")
    assert [c.name for c in recorded(split)] == ["0000", "0001", "0002"]
    assert recorded(split, [2])[0] is split.cameras[2]
    with pytest.raises(ValueError, match="no camera at position 3; there are 3"):
        recorded(split, [3])
    np.testing.assert_array_equal(up_of(split.cameras), UP)
    tilted = [Camera("t", c.K, np.diag([1, 1, 1, 1.0]) @ c.T_world_camera, 4, 4) for c in split.cameras[:1]]
    assert np.linalg.norm(up_of(tilted)) == pytest.approx(1)
    assert body_center([split.pose(0)])[1] == pytest.approx(0.8)


def test_cameras_survive_a_file(tmp_path: Path) -> None:
    cameras = orbit(template(), np.array([0, 1.0, 0]), 3)
    to_file(cameras, tmp_path / "path.json")
    for a, b in zip(cameras, from_file(tmp_path / "path.json"), strict=True):
        np.testing.assert_array_equal(a.T_world_camera, b.T_world_camera)
        np.testing.assert_array_equal(a.K, b.K)
        assert (a.name, a.height, a.width) == (b.name, b.height, b.width)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"K": None}, "camera 1: K is missing"),
        ({"K": [[1, 2], [3, 4]]}, "camera 1: K is 2x2; expected 3x3"),
        ({"K": "wide"}, "camera 1: K is no matrix of numbers"),
        ({"T_world_camera": (2 * np.eye(4)).tolist()}, "camera 1: T_world_camera is no rotation"),
        ({"height": 0}, "camera 1: height and width are 0 and 64"),
    ],
)
def test_a_wrong_file_of_cameras(tmp_path: Path, change: dict, line: str) -> None:
    path = tmp_path / "path.json"
    to_file(orbit(template(), np.array([0, 1.0, 0]), 2), path)
    values = json.loads(path.read_text())
    for key, value in change.items():
        values["cameras"][1].pop(key) if value is None else values["cameras"][1].update({key: value})
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=line):
        from_file(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="'cameras' is missing or empty"):
        from_file(path)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda pose: pose @ np.diag([1.0, -1, -1, 1]), "their axes seem to be OpenGL's"),
        (np.linalg.inv, "they seem to be the inverse: write the inverse of each"),
        (lambda pose: pose * np.array([[1, 1, 1, 1000]] * 3 + [[1, 1, 1, 1]]), "1000 times too large"),
    ],
)
def test_a_film_of_the_background_is_refused(tmp_path: Path, change: Callable, cause: str) -> None:
    split = Capture.open(write_tiny_capture(tmp_path / "c", splits=("training",))).split("training")
    path = str(tmp_path / "path.json")
    to_file([split.cameras[0]], path)
    assert len(along(path, split, range(4))) == 4
    to_file([replace(split.cameras[1], T_world_camera=change(split.cameras[1].T_world_camera))], path)
    with pytest.raises(ValueError, match=f"path.json: the body of .*training is in no picture; .*{cause}"):
        along(path, split, range(4))


def test_a_motion_in_centimetres_is_refused_where_it_is_filmed(tmp_path: Path) -> None:
    root = write_tiny_capture(tmp_path / "c", splits=("training",))
    path = str(tmp_path / "path.json")
    to_file([Capture.open(root).split("training").cameras[0]], path)
    shutil.rmtree(root / "training" / "rgb_video")
    large = {}
    for f in range(4):
        values = transform(f)
        values |= {key: (100 * np.array(values[key])).tolist() for key in ("joints", "translation")}
        values["translation"] = (np.array(values["translation"]) + 900).tolist()
        values["joints"] = (np.array(values["joints"]) + 900).tolist()
        large[f"{f:06d}.json"] = json.dumps(values)
    rewrite_zip(root / "training/transform.zip", large)
    with pytest.raises(ValueError, match="translation and joints seem to be 100 times too large"):
        along(path, Capture.open(root).split("training"), range(4))
