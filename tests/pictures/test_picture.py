"""Pictures: normals against the original's numbers and a sphere, files that are whole."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from na_ray.capture.camera import Camera
from na_ray.capture.image import check_image
from na_ray.models.avatar import normals_from_depth
from na_ray.pictures import picture, png

PARITY = Path(__file__).parents[1] / "data" / "parity" / "normals_from_depth.npz"


def camera(height=48, width=64, focal=60.0):
    K = np.array([[focal, 0, width / 2 - 0.5], [0, focal, height / 2 - 0.5], [0, 0, 1]])
    return Camera("0000", K, np.eye(4), height, width)


def test_normals_from_depth_are_the_originals():
    stored = np.load(PARITY)
    view = Camera("0001", stored["K"][:3, :3].astype(np.float64), np.eye(4), 64, 48)
    depth = torch.from_numpy(stored["depth"].astype(np.float64).reshape(64, 48))
    normals = normals_from_depth(depth, view).numpy().reshape(-1, 3)
    np.testing.assert_allclose(normals, stored["normals"], atol=1e-5)


def test_normals_of_a_sphere_and_their_colors():
    view = camera()
    _, rays = view.rays(view.pixel_grid())
    center, radius = np.array([0, 0, 3.0]), 1.0
    along = rays @ center
    inside = along**2 - (center @ center - radius**2)
    depth = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), 5.0)
    outward = (rays * depth[:, None] - center) / radius
    normals = normals_from_depth(torch.from_numpy(depth.reshape(48, 64)), view).reshape(-1, 3).numpy()
    middle = inside > 0.5
    assert middle.sum() > 300
    # Differences over two pixels, on unit tangents that meet at almost right angles.
    np.testing.assert_allclose(normals[middle], -outward[middle], atol=0.08)
    transmittance = torch.from_numpy((inside <= 0).reshape(48, 64)).float()
    colors = picture.normal_colors(torch.from_numpy(normals.reshape(48, 64, 3)), transmittance)
    assert colors[24, 32, 2] > 0.97 and colors[24, 44, 0] > 0.6 > 0.4 > colors[24, 20, 0]
    assert colors[14, 32, 1] > 0.6 and (colors[0, 0] == 1).all()


def test_near_is_bright_far_is_dark_and_nothing_is_white():
    depth = torch.tensor([[2.0, 3.0, 4.0, 9.0]])
    colors = picture.depth_colors(depth, torch.tensor([[0.0, 0.0, 0.0, 1.0]]), 2.0, 4.0)
    brightness = colors.mean(-1)[0]
    assert brightness[0] > brightness[1] > brightness[2] and (colors[0, 3] == 1).all()
    np.testing.assert_allclose(colors[0, 1], np.array([0x21, 0x91, 0x8C]) / 255, atol=1e-6)


def test_rounding_is_half_up():
    values = torch.tensor([-1.0, 0.49 / 255, 0.5 / 255, 1.5 / 255, 2.0]).repeat_interleave(3).reshape(1, 5, 3)
    assert picture.to_uint8(values)[0, :, 0].tolist() == [0, 0, 1, 2, 255]


def test_files_are_whole_and_leave_nothing_beside(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    path = tmp_path / "color" / "000000.png"
    png.write_png(path, image)
    np.testing.assert_array_equal(png.read_png(path), image)
    with pytest.raises((TypeError, AttributeError)):
        png.write_png(path, None)
    assert [p.name for p in path.parent.iterdir()] == ["000000.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_sheets_hold_every_picture():
    one, two = np.zeros((4, 6, 3), np.uint8), np.full((5, 3, 3), 9, np.uint8)
    made = picture.sheet([one, two, one], columns=2)
    assert made.shape == (10, 12, 3)
    np.testing.assert_array_equal(made[:5, 6:9], two)
    np.testing.assert_array_equal(made[5:9, :6], one)
    assert (made[4, :6] == 255).all() and (made[5:, 6:] == 255).all()
    assert picture.labeled(one, "view 3").shape == (20, 6, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (40, 33)])
def test_a_picture_written_fast_is_the_same_picture(size, tmp_path):
    shown = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    shown[size[0] // 2 :] = 255
    png.write_png(tmp_path / "fast.png", shown[:, ::-1], "abc 1", fast=True)
    assert np.array_equal(png.read_png(tmp_path / "fast.png"), shown[:, ::-1])
    assert png.png_mark(tmp_path / "fast.png") == "abc 1"
    assert check_image(str(tmp_path / "fast.png")) == size
    assert [p.name for p in tmp_path.iterdir()] == ["fast.png"]


@pytest.mark.parametrize("fast", [False, True])
def test_a_picture_that_cannot_be_written_says_which(fast, tmp_path):
    """The system names no file when a disk, or what a user may write, is full."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            png.write_png(tmp_path / "a.png", noise, fast=fast)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(tmp_path / "a.png") and not list(tmp_path.iterdir())
