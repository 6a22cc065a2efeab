"""Pictures: exact area resampling and compositing."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from na_ray.capture.image import (
    check_image,
    image_resolution,
    map_size,
    orientation_of,
    read_image,
    read_mask,
    resample_area,
    shrink_map,
    to_colors,
)


def naive_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every overlap of two pixels, in float64."""
    rows, columns = image.shape[:2]
    out = np.zeros((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            top, bottom = y * rows / height, (y + 1) * rows / height
            left, right = x * columns / width, (x + 1) * columns / width
            total = np.zeros(image.shape[2])
            for r in range(math.floor(top), math.ceil(bottom)):  # others do not overlap
                for c in range(math.floor(left), math.ceil(right)):
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


def test_sixteen_bits_of_gray_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 60).astype(np.uint16).reshape(6, 10)
    Image.fromarray(values).save(tmp_path / "a.png")
    got = read_image(str(tmp_path / "a.png"))
    np.testing.assert_allclose(got, np.repeat(values[:, :, None] / 257, 3, axis=2), atol=1)
    mask = np.zeros((6, 10), np.uint16)
    mask[2:4, 3:7] = 1  # a label, not a color
    Image.fromarray(mask).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png")), mask > 0)


# EXIF's numbers, and how an upright picture is stored under each (the standard's table, by rows and columns).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pictures_are_upright_as_their_exif_says(tmp_path: Path, orientation: int, ending: str) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8], upright[8:, 16:] = (250, 30, 30), (30, 30, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).save(path, exif=exif, quality=95, subsampling=0)
    np.testing.assert_allclose(read_image(str(path)).astype(int), upright, atol=12)
    assert image_resolution(str(path)) == check_image(str(path)) == (16, 24)
    assert orientation_of(str(path)) == orientation


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_bytes_behind_a_picture_do_not_cut_it_short(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(image).save(path)
    before = read_image(str(path))
    path.write_bytes(path.read_bytes() + b"SEFH" + bytes(range(200)) + b"SEFT")  # a phone's own notes
    assert check_image(str(path)) == (40, 50)
    np.testing.assert_array_equal(read_image(str(path)), before)


def test_colors_of_ink_and_other_formats_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (0, 200, 200, 0)).save(path)
    with pytest.raises(ValueError, match=r"a\.jpg: colors of ink \(CMYK\).*expected RGB: convert it"):
        read_image(str(path))
    Image.new("F", (8, 8)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "b.png")
    with pytest.raises(ValueError, match="no readable picture"):
        read_image(str(tmp_path / "b.png"))
