"""nerfstudio's camera paths, by the definition of OpenGL's axes."""

import json
from pathlib import Path

import numpy as np
import pytest

from na_ray.capture.camera_paths import around, lens
from na_ray.capture.trajectory import to_file
from na_ray.formats.nerfstudio import read_cameras, write_cameras

SIZE = (48, 64)


def path_file(path: Path, **changes: object) -> Path:
    T = np.eye(4)
    T[:3, 3] = 1, 2, 5  # looks along -z, y up
    row = {"camera_to_world": T.reshape(-1).tolist(), "fov": 60.0, "aspect": 4 / 3}
    head = {"camera_type": "perspective", "render_height": 48, "render_width": 64, "fps": 25, "seconds": 1}
    values = head | {"camera_path": [row | {k: v for k, v in changes.items() if k in row}]}
    path.write_text(json.dumps(values | {k: v for k, v in changes.items() if k not in row}))
    return path


def test_a_point_before_the_camera_is_in_the_middle_and_one_above_it_higher(tmp_path: Path) -> None:
    (camera,) = read_cameras(path_file(tmp_path / "c.json"))
    pixels, depth = camera.project(np.array([[1.0, 2, 0], [1.0, 3, 0], [2.0, 2, 0]]))
    np.testing.assert_allclose(depth, 5)
    np.testing.assert_allclose(pixels[0], [31.5, 23.5])
    # The field of view is vertical: 24 pixels up to 30 degrees.
    focal = 24 / np.tan(np.radians(30))
    np.testing.assert_allclose(pixels[1:], [[31.5, 23.5 - focal / 5], [31.5 + focal / 5, 23.5]])


def test_cameras_survive_either_file(tmp_path: Path) -> None:
    cameras = around(5, lens(*SIZE, 40), SIZE, (0, 1, 0), (0, 1, 0), height=(0.3, 0.6))
    write_cameras(cameras, tmp_path / "theirs.json", 30.0)
    to_file(cameras, tmp_path / "ours.json")
    for name in ("theirs.json", "ours.json"):
        for a, b in zip(cameras, read_cameras(tmp_path / name), strict=True):
            np.testing.assert_allclose(a.T_world_camera, b.T_world_camera, atol=1e-12)
            np.testing.assert_allclose(a.K, b.K, atol=1e-9)
            assert (a.height, a.width) == (b.height, b.width)
    values = json.loads((tmp_path / "theirs.json").read_text())
    assert values["seconds"] == pytest.approx(5 / 30) and values["camera_path"][0]["aspect"] == 64 / 48


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"camera_type": "fisheye"}, r"c\.json: camera_type is 'fisheye'; expected 'perspective'"),
        ({"render_height": None}, r"c\.json: render_height and render_width are \[None, 64\]"),
        ({"camera_path": []}, r"c\.json: camera_path is empty"),
        ({"fov": "wide"}, r"c\.json, camera 0: expected camera_to_world, 16 numbers, and fov, one"),
        ({"fov": 0}, r"camera 0: 16 numbers and a fov of 0"),
        ({"camera_to_world": [1, 2]}, r"camera 0: 2 numbers"),
        ({"camera_to_world": (2 * np.eye(4)).reshape(-1).tolist()}, r"camera 0: camera_to_world is no rotation"),
    ],
)
def test_a_wrong_path_is_one_line(tmp_path: Path, change: dict, line: str) -> None:
    with pytest.raises(ValueError, match=line) as error:
        read_cameras(path_file(tmp_path / "c.json", **change))
    assert len(str(error.value).splitlines()) == 1
