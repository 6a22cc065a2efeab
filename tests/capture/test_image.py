"""Pictures: exact area resampling and compositing."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from na_ray.capture.image import (
    check_image,
    image_resolution,
    map_size,
    read_image,
    resample_area,
    shrink_map,
    to_colors,
)


def naive_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every overlap of every pair of pixels, in float64."""
    rows, columns = image.shape[:2]
    out = np.zeros((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            top, bottom, left, right = y * rows / height, (y + 1) * rows / height, x * columns / width, 0.0
            right = (x + 1) * columns / width
            total = np.zeros(image.shape[2])
            for r in range(rows):
                for c in range(columns):
                    tall = max(0.0, min(bottom, r + 1) - max(top, r))
                    total += tall * max(0.0, min(right, c + 1) - max(left, c)) * image[r, c].astype(float)
            out[y, x] = total / ((bottom - top) * (right - left))
    return out


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (12, 16), (1, 1), (7, 16), (24, 20)])
def test_area_resampling_is_exact(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    np.testing.assert_allclose(resample_area(image, *size), naive_area(image, *size), atol=1e-4)


def test_resampling_keeps_the_mean_and_constants() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 47, 4), np.uint8)
    small = resample_area(image, 10, 13)
    np.testing.assert_allclose(small.mean(axis=(0, 1)), image.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(resample_area(np.full((33, 47, 3), 255, np.uint8), 10, 13), np.full((10, 13, 3), 255))


def test_alpha_is_composited_and_vanishes_on_the_background() -> None:
    image = np.array([[[255, 255, 255, 255], [0, 128, 255, 128], [9, 9, 9, 0], [0, 0, 0, 255]]], np.uint8)
    colors, alpha = to_colors(image)
    a = np.float32(128 / 255)
    np.testing.assert_allclose(colors[1], np.array([-1, 2 * 128 / 255 - 1, 1]) * a + (1 - a), atol=1e-6)
    np.testing.assert_array_equal(alpha, [0, a, 0, 1])
    np.testing.assert_array_equal(to_colors(image[:, :, :3])[1], [0, 1, 1, 1])
    np.testing.assert_array_equal(to_colors(image[:, :, :3], background=(-1.0, -1.0, -1.0))[1], [1, 1, 1, 0])


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("L", 3), ("P", 3), ("LA", 4)])
def test_every_kind_of_picture_is_read(tmp_path: Path, mode: str, channels: int) -> None:
    path = str(tmp_path / "a.png")
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).convert(mode).save(path)
    assert read_image(path).shape == (4, 5, channels)
    assert image_resolution(path) == check_image(path) == (4, 5)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_picture_cut_short_is_an_error(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="the picture is cut short"):
        check_image(str(path))
    with pytest.raises(ValueError, match="no readable picture"):
        read_image(str(path))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_image(str(tmp_path / "missing.png"))


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((32, 64), 32, (16, 32)), ((64, 32), 32, (32, 16)), ((48, 48), 16, (16, 16)), ((30, 50), 64, (30, 50))],
)
def test_a_map_keeps_its_proportions(size: tuple[int, int], side: int, expected: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    small = shrink_map(image, side)
    assert small.shape == (*expected, 3) and map_size(*size, side) == expected
    np.testing.assert_allclose(small, naive_area(image, *expected), atol=1e-4)
    assert shrink_map(image, None) is image
