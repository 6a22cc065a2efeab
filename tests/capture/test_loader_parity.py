"""What the original's loaders return for three frames and four cameras (parity/nerf, sections 2 and 9)."""

from pathlib import Path

import numpy as np
import pytest

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import resample_area, to_colors

DATA = Path(__file__).parents[1] / "data" / "parity" / "loader"
EXPECTED = np.load(DATA / "loader.npz")
# (frame, view); view 3 has an alpha channel, view 2 stores 3x4 extrinsics, view 1 3x3 intrinsics.
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 3))


@pytest.fixture(scope="module")
def split() -> Split:
    return Capture.open(str(DATA)).split("loader")


def test_frames_and_views_are_all_there(split: Split) -> None:
    assert (split.num_frames, len(split.cameras), split.files.kind) == (3, 4, "extracted")


@pytest.mark.parametrize(("frame", "view"), PAIRS)
def test_colors_and_alpha(split: Split, frame: int, view: int) -> None:
    image = split.image(frame, view)
    assert image.shape[-1] == (4 if view == 3 else 3)
    colors, alpha = to_colors(image)
    np.testing.assert_allclose(colors, EXPECTED[f"full_f{frame}_v{view}_colors"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(alpha, EXPECTED[f"full_f{frame}_v{view}_alpha"], atol=1e-6, rtol=0)
    assert (alpha == 0).any() and (alpha > 0).any()


@pytest.mark.parametrize(("frame", "view"), PAIRS)
def test_colors_and_alpha_at_half_the_size(split: Split, frame: int, view: int) -> None:
    colors, alpha = to_colors(resample_area(split.image(frame, view), 32, 24))
    np.testing.assert_allclose(colors, EXPECTED[f"half_f{frame}_v{view}_colors"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(alpha, EXPECTED[f"half_f{frame}_v{view}_alpha"], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("frame", "view"), PAIRS)
def test_cameras(split: Split, frame: int, view: int) -> None:
    camera = split.cameras[view]
    K, pose = EXPECTED[f"full_f{frame}_v{view}_intrinsics"], EXPECTED[f"full_f{frame}_v{view}_extrinsics"]
    np.testing.assert_allclose(camera.K.astype(np.float32), K[:3, :3], atol=1e-6, rtol=0)
    np.testing.assert_allclose(camera.T_world_camera.astype(np.float32), pose, atol=1e-6, rtol=0)
    assert [camera.height, camera.width, 1, 1] == EXPECTED[f"full_f{frame}_v{view}_size"].tolist()


def test_the_pixel_grid_of_a_smaller_picture(split: Split) -> None:
    """The original's small picture has rays through the native pixels 0, 2, 4, ..."""
    camera, native = split.cameras[0].resized(32, 24, parity=True), EXPECTED["half_f0_v0_uv"].T.astype(np.float64)
    np.testing.assert_array_equal(camera.pixel_grid() * EXPECTED["half_f0_v0_size"][[3, 2]], native)
    np.testing.assert_allclose(camera.rays(camera.pixel_grid())[1], split.cameras[0].rays(native)[1], atol=1e-12)


@pytest.mark.parametrize("view", range(4))
def test_rays(split: Split, view: int) -> None:
    camera = split.cameras[view]
    origins, directions = camera.rays(camera.pixel_grid()[::16])
    np.testing.assert_allclose(directions, EXPECTED[f"rays_v{view}_every16"], atol=1e-7, rtol=0)
    # The original reads the matrices as float32.
    np.testing.assert_array_equal(origins[5].astype(np.float32), EXPECTED[f"rays_v{view}_start"])


@pytest.mark.parametrize("frame", range(3))
def test_poses(split: Split, frame: int) -> None:
    pose = split.pose(frame)
    np.testing.assert_array_equal(pose.joints, EXPECTED[f"f{frame}_joints"])
    np.testing.assert_array_equal(pose.joints_RT.transpose(1, 2, 0), EXPECTED[f"f{frame}_joints_RT"])
    np.testing.assert_array_equal(pose.rotation, EXPECTED[f"f{frame}_rotation"])
    np.testing.assert_array_equal(pose.translation[None], EXPECTED[f"f{frame}_translation"])
    # The original puts the root's rotation in place of the first three numbers; ours keeps them as stored.
    assert pose.pose is not None
    np.testing.assert_array_equal(pose.pose[3:], EXPECTED[f"f{frame}_pose"][0, 3:])


def test_texture(split: Split) -> None:
    np.testing.assert_allclose(split.texture(0) / np.float32(255), EXPECTED["f0_tex"], atol=1e-7, rtol=0)
