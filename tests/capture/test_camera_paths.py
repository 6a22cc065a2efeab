"""Paths of a camera that need no capture."""

import json
from pathlib import Path

import numpy as np
import pytest

from na_ray.capture.camera_paths import around, lens, read_keys, through_keys
from na_ray.capture.trajectory import interpolate

SIZE = (48, 64)


def test_a_circle_at_a_speed_round_an_axis() -> None:
    at = np.array([1.0, 2, 3])
    path = around(7, lens(*SIZE, 40), SIZE, at, (0, 1, 0), radius=(2, 2), height=(0.5, 0.5), start=90, speed=15)
    for i, camera in enumerate(path):
        angle = np.radians(90 + 15 * i)
        np.testing.assert_allclose(camera.center - at, [2 * np.sin(angle), 0.5, 2 * np.cos(angle)], atol=1e-12)
        np.testing.assert_allclose(camera.project(at[None])[0], [[31.5, 23.5]], atol=1e-9)
    tipped = around(4, lens(*SIZE, 40), SIZE, at, (0, 1, 0), axis=(0, 0, 2), height=(1, 1), speed=90)
    np.testing.assert_allclose([c.center[2] - 3 for c in tipped], 1)
    np.testing.assert_allclose([np.linalg.norm(c.center[:2] - at[:2]) for c in tipped], 3)
    assert all(c.T_world_camera[1, 1] < 0 for c in tipped), "upright all the same"


def test_a_zoom_goes_evenly_from_one_radius_to_another() -> None:
    path = around(5, lens(*SIZE, 40), SIZE, (0, 1, 0), (0, 1, 0), radius=(4, 2), height=(0, 1), speed=0)
    np.testing.assert_allclose([c.center for c in path], [[0, 1 + k / 4, 4 - k / 2] for k in range(5)], atol=1e-12)


def test_a_field_of_view_is_along_the_longer_side() -> None:
    K = lens(50, 100, 90)
    assert K[0, 0] == K[1, 1] == pytest.approx(50) and (K[0, 2], K[1, 2]) == (49.5, 24.5)
    with pytest.raises(ValueError, match="a field of view of 180 degrees"):
        lens(4, 4, 180)
    with pytest.raises(ValueError, match="a radius of -1 m"):
        around(2, K, (50, 100), (0, 0, 0), (0, 1, 0), radius=(1, -1))
    with pytest.raises(ValueError, match="up is"):
        around(2, K, (50, 100), (0, 0, 0), (0, 0, 0))


def write(path: Path, *keys: object) -> Path:
    path.write_text(json.dumps({"keys": keys}))
    return path


KEYS = [
    {"seconds": 0, "eye": [0, 1, 3], "at": [0, 1, 0]},
    {"seconds": 0.4, "eye": [1, 1, 3], "at": [0, 1, 0], "fov": 30},
    {"seconds": 2, "eye": [3, 1.5, 0], "at": [0, 1, 0], "fov": 40},
]


def test_key_frames_are_passed_at_their_seconds(tmp_path: Path) -> None:
    cameras, seconds = read_keys(write(tmp_path / "k.json", *KEYS), SIZE)
    path = through_keys(cameras, seconds, 25.0)
    assert len(path) == 51
    for key, camera in zip((0, 10, 50), cameras, strict=True):
        np.testing.assert_allclose(path[key].T_world_camera, camera.T_world_camera, atol=1e-9)
        np.testing.assert_allclose(path[key].K, camera.K, atol=1e-9)
    with pytest.raises(ValueError, match="times of a path"):
        interpolate(cameras, 5, times=[0, 2, 1])


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"eye": [0, 1]}, r"k\.json, key 1: eye is \[0, 1\]; expected three numbers"),
        ({"at": "there"}, r"key 1: at is 'there'; expected three numbers"),
        ({"seconds": None}, r"key 1: fov and seconds are 30 and None; expected two numbers"),
        ({"eye": [0, 3, 0]}, r"key 1: camera at \[0\.0, 3\.0, 0\.0\]: looks along the up axis"),
        ({"fov": 200}, r"key 1: a field of view of 200 degrees"),
    ],
)
def test_a_wrong_key_is_one_line(tmp_path: Path, change: dict, line: str) -> None:
    path = write(tmp_path / "k.json", KEYS[0], KEYS[1] | change)
    with pytest.raises(ValueError, match=line) as error:
        read_keys(path, SIZE)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError, match="expected 'keys', a list of two or more"):
        read_keys(write(tmp_path / "one.json", KEYS[0]), SIZE)
