"""Pictures are looked up by cubic interpolation where the lens shows them, against a loop over pixels in float64."""

import math

import numpy as np
import pytest
from tiny_footage import BARREL, HEIGHT, WIDTH, K, bend, grid, psnr, straight_places

from na_ray.config.values import UserError
from na_ray.convert.lens import Lens
from na_ray.convert.painter import Painter
from na_ray.convert.unbend import Unbending


def kernel(t: float) -> float:
    """Keys' cubic of a = -3/4, which OpenCV and torch use."""
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def looked_up(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """One pixel by the sum of sixteen; the border's repeat outwards."""
    found = np.zeros(3)
    for row in range(math.floor(y) - 1, math.floor(y) + 3):
        for column in range(math.floor(x) - 1, math.floor(x) + 3):
            pixel = image[min(max(row, 0), HEIGHT - 1), min(max(column, 0), WIDTH - 1)].astype(np.float64)
            found += kernel(y - row) * kernel(x - column) * pixel
    return found.clip(0, 255)


@pytest.mark.parametrize("part", [None, (slice(20, 60), slice(15, 70))], ids=["whole", "part"])
def test_pixels_are_those_of_a_loop(part: tuple[slice, slice] | None) -> None:
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    unbending = Unbending.of(Lens(K, np.array(BARREL), WIDTH, HEIGHT), "")
    excerpt = unbending.whole if part is None else unbending.excerpt(part)
    rows, columns = part or (slice(0, HEIGHT), slice(0, WIDTH))
    found = excerpt.look_up(image)
    for row in range(rows.start, rows.stop, 5):
        for column in range(columns.start, columns.stop, 5):
            x, y = bend((column - K[0, 2]) / K[0, 0], (row - K[1, 2]) / K[1, 1], BARREL)
            expected = looked_up(image, K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2])
            # Half a level of rounding, and the places in float32.
            assert np.abs(found[row - rows.start, column - columns.start] - expected).max() < 0.52


def test_fine_stripes_survive() -> None:
    def stripes(places: np.ndarray) -> np.ndarray:
        x, y = places[..., 0], places[..., 1]
        waves = [np.sin(1.3 * x + 0.2 * y), np.cos(1.1 * y), np.sin(0.9 * (x - y))]
        return (127 + 100 * np.stack(waves, axis=-1) + 0.5).astype(np.uint8)

    unbending = Unbending.of(Lens(K, np.array(BARREL), WIDTH, HEIGHT), "")
    bent, truth = stripes(straight_places(BARREL)), stripes(grid())
    inner = (slice(6, -6), slice(6, -6))
    cubic, linear = (psnr(unbending.whole.look_up(bent, c)[inner], truth[inner]) for c in (True, False))
    assert cubic > linear + 4 and cubic > 28, (cubic, linear)


def test_what_the_lens_did_not_see_is_nobody() -> None:
    pincushion = Lens(K, np.array((0.35, 0, 0, 0)), WIDTH, HEIGHT)
    unbending = Unbending.of(pincushion, "")
    image, all_of_it = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.full((HEIGHT, WIDTH), 255, np.uint8)
    picture, alpha = Painter((7, 8, 9), unbending).paint((image, all_of_it))
    assert alpha is not None and 0.05 < unbending.outside.mean() < 0.5 and unbending.outside[0, 0]
    assert np.array_equal(alpha == 0, unbending.outside)
    assert (picture[unbending.outside] == (7, 8, 9)).all() and (picture[~unbending.outside] == 90).all()
    plain, _ = Painter((7, 8, 9), unbending).paint((image, None))
    np.testing.assert_array_equal(plain, picture)


@pytest.mark.parametrize("coefficients", [(5.0, 80.0, 0.0, 0.0, 300.0), (20.0, 0.0, 0.0, 0.0)])
def test_a_lens_that_fills_hardly_anything_is_refused(coefficients):
    """Of such coefficients most of the picture would become background."""
    with pytest.raises(UserError, match=r"camera 7: its lens fills but [0-9]+ % of the picture"):
        Unbending.of(Lens(K, np.array(coefficients), WIDTH, HEIGHT), "camera 7")
