"""Rays, projection and resizing of cameras; their text files."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.spatial.transform import Rotation

from na_ray.capture.camera import Camera, read_extrinsics, read_intrinsics


def camera() -> Camera:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.3, -1.2, 0.4]).as_matrix()
    pose[:3, 3] = [0.4, -2.0, 1.5]
    return Camera("a", np.array([[90.0, 0.5, 31.0], [0, 95.0, 22.5], [0, 0, 1]]), pose, 48, 64)


def test_projection_inverts_rays() -> None:
    pixels = np.random.default_rng(0).uniform(0, 60, (50, 2))
    origins, directions = camera().rays(pixels)
    lengths = np.random.default_rng(1).uniform(0.5, 9, (50, 1))
    back, depth = camera().project(origins + lengths * directions)
    np.testing.assert_allclose(back, pixels, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=2e-8)
    assert (depth > 0).all() and (camera().project(origins - lengths * directions)[1] < 0).all()


def test_rays_follow_the_formula() -> None:
    cam = camera()
    for x, y in ((0.0, 0.0), (13.0, 40.0), (63.0, 47.0)):
        naive = cam.T_world_camera[:3, :3] @ np.linalg.inv(cam.K) @ np.array([x, y, 1.0])
        origin, direction = cam.rays(np.array([[x, y]]))
        np.testing.assert_allclose(direction[0], naive / (np.linalg.norm(naive) + 1e-8), atol=1e-14)
        np.testing.assert_array_equal(origin[0], cam.center)


def test_axes_are_opencv() -> None:
    cam = Camera("a", np.array([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]]), np.eye(4), 11, 11)
    np.testing.assert_allclose(cam.rays(np.array([[5.0, 5.0]]))[1], [[0, 0, 1]], atol=1e-7)
    pixels, depth = cam.project(np.array([[0.1, 0.2, 1.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(pixels[0], [6, 7])
    assert depth.tolist() == [1.0, 0.0] and np.isfinite(pixels).all()


def test_resizing_keeps_what_a_block_of_pixels_sees() -> None:
    """The ray of a small pixel goes through the middle of the large pixels that it averages."""
    cam, small = camera(), camera().resized(24, 16)
    grid = small.pixel_grid()
    middles = (grid + 0.5) * [4, 2] - 0.5
    np.testing.assert_allclose(small.rays(grid)[1], cam.rays(middles)[1], atol=1e-12)
    np.testing.assert_allclose(
        camera().resized(24, 16, parity=True).rays(grid)[1], cam.rays(grid * [4, 2])[1], atol=1e-12
    )


def test_fitted_bounds_the_longer_side_and_never_enlarges() -> None:
    assert (camera().fitted(32).height, camera().fitted(32).width) == (24, 32)
    assert (camera().fitted(500).height, camera().fitted(500).width) == (48, 64)


def test_the_pixel_grid_is_row_by_row() -> None:
    grid = camera().pixel_grid()
    assert grid[:2].tolist() == [[0, 0], [1, 0]] and grid[64].tolist() == [0, 1] and len(grid) == 48 * 64


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(TypeCheckError):
        camera().rays(np.zeros((4, 3)))


K = np.array([[90.0, 0, 31.0], [0, 95.0, 22.5], [0, 0, 1]])


@pytest.mark.parametrize(
    "text",
    [
        "90 0 31\n0 95 22.5\n0 0 1\n",
        "90 0 31 0\n0 95 22.5 0\n0 0 1 0\n0 0 0 1",
        "90,0,31,0\n0,95,22.5,0\n0,0,1,0\n",
        "90 0 31 0 0 95 22.5 0 0 0 1 0 0 0 0 1",
        "48 64\n90 0 31\n0 95 22.5\n0 0 1\n",
        "\n90 0 31\n0 95 22.5\n0 0 1\n64 48\n\n",
    ],
)
def test_every_form_of_intrinsics(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    np.testing.assert_array_equal(read_intrinsics(str(tmp_path / "a.txt")), K)


def test_extrinsics_of_both_directions(tmp_path: Path) -> None:
    pose = camera().T_world_camera
    for rows in (4, 3):
        np.savetxt(tmp_path / "a.txt", pose[:rows])
        np.savetxt(tmp_path / "b.txt", np.linalg.inv(pose)[:rows])
        np.testing.assert_allclose(read_extrinsics(str(tmp_path / "a.txt")), pose, atol=1e-12)
        np.testing.assert_allclose(read_extrinsics(str(tmp_path / "b.txt"), world_to_camera=True), pose, atol=1e-12)
    np.savetxt(tmp_path / "c.txt", np.zeros((4, 4)))
    with pytest.raises(ValueError, match="cannot be inverted"):
        read_extrinsics(str(tmp_path / "c.txt"), world_to_camera=True)


def test_intrinsics_of_nsvf(tmp_path: Path) -> None:
    path = tmp_path / "intrinsics.txt"
    path.write_text("875.5 400.25 300.75 0.\n0. 0. 0.\n0.\n1.\n600 800\n")
    np.testing.assert_array_equal(read_intrinsics(str(path)), [[875.5, 0, 400.25], [0, 875.5, 300.75], [0, 0, 1]])
