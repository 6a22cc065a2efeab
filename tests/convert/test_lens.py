"""Lenses bend as OpenCV's formula says, term by term, and are undone to a billionth of a pixel."""

import numpy as np
import pytest
from tiny_footage import BARREL, HEIGHT, WIDTH, K, bend

from na_ray.config.values import UserError
from na_ray.convert.lens import EXACT, Lens

LENSES = {
    "barrel": BARREL,
    "pincushion": (0.2, -0.05, 0, 0),
    "rational": (0.4, 0.1, 0.001, 0.0005, 0.02, 0.6, 0.15, 0.01),
    "tangential": (0, 0, 0.01, -0.02, 0),
    "none": (),
}


def lens_of(coefficients: tuple[float, ...]) -> Lens:
    return Lens(K, np.array(coefficients, np.float64), WIDTH, HEIGHT)


@pytest.mark.parametrize("name", LENSES)
def test_points_are_bent_as_the_formula_says(name: str) -> None:
    lens, k = lens_of(LENSES[name]), LENSES[name]
    points = np.random.default_rng(0).uniform([-10, -10], [WIDTH + 10, HEIGHT + 10], (200, 2))
    for point, found in zip(points, lens.distort(points), strict=True):
        x, y = bend((point[0] - K[0, 2]) / K[0, 0], (point[1] - K[1, 2]) / K[1, 1], k)
        np.testing.assert_allclose(found, [K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", LENSES)
def test_undistort_is_the_inverse(name: str) -> None:
    lens = lens_of(LENSES[name])
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    assert np.abs(lens.distort(lens.undistort(pixels)) - pixels).max() <= EXACT
    assert np.abs(lens.undistort(lens.distort(pixels)) - pixels).max() <= 10 * EXACT
    places = lens.lookup()
    assert not np.isnan(places).any()
    np.testing.assert_allclose(places.reshape(-1, 2), lens.distort(pixels), atol=1e-12)
    assert not lens.undistorted().bends and np.array_equal(lens.undistorted().K, K)


@pytest.mark.parametrize("name", ["barrel", "rational", "tangential"])
def test_newtons_slopes_are_those_of_small_differences(name: str) -> None:
    lens, step = lens_of(LENSES[name]), 1e-6
    for x, y in np.random.default_rng(1).uniform(-0.5, 0.5, (20, 2)):
        right, left = bend(x + step, y, LENSES[name]), bend(x - step, y, LENSES[name])
        down, up = bend(x, y + step, LENSES[name]), bend(x, y - step, LENSES[name])
        pairs = ((right[0], left[0]), (down[0], up[0]), (right[1], left[1]), (down[1], up[1]))
        expected = [(a - b) / (2 * step) for a, b in pairs]
        np.testing.assert_allclose(np.ravel(lens._slopes(np.array([[x, y]]))), expected, atol=1e-8)


def test_skew_takes_part() -> None:
    skewed = K + np.array([[0, 3.0, 0], [0, 0, 0], [0, 0, 0]])
    lens = Lens(skewed, np.array(BARREL), WIDTH, HEIGHT)
    ray = np.array([0.2, -0.15, 1])
    bent = np.array([*bend(ray[0], ray[1], BARREL), 1])
    np.testing.assert_allclose(lens.distort((skewed @ ray)[None, :2])[0], (skewed @ bent)[:2], atol=1e-11)


def test_a_lens_of_smaller_pictures_bends_alike() -> None:
    lens = lens_of(BARREL)
    small = lens.resized(WIDTH // 2, HEIGHT // 2)
    points = np.array([[10.0, 20.0], [80.0, 5.0]])
    # A small pixel covers two large ones a side: its centre lies between theirs.
    np.testing.assert_allclose(small.distort((points + 0.5) / 2 - 0.5), (lens.distort(points) + 0.5) / 2 - 0.5)


def test_a_lens_that_folds_within_the_picture_is_refused() -> None:
    lens = lens_of((-0.9, 0, 0, 0, 0))
    # r (1 - .9 r²) grows until r² = 1 / 2.7, and reaches two thirds of that radius.
    top = 2 / 3 / np.sqrt(2.7)
    inside = np.array([[K[0, 2] + 0.99 * top * K[0, 0], K[1, 2]]])
    beyond = np.array([[K[0, 2] + 1.01 * top * K[0, 0], K[1, 2]]])
    assert np.abs(lens.distort(lens.undistort(inside)) - inside).max() <= EXACT
    with pytest.raises(UserError, match=r"^the lens \(-0.9, 0, 0, 0, 0\) folds before it comes to pixel \(87, 37\): "):
        lens.undistort(beyond)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    r2 = ((x - K[0, 2]) / K[0, 0]) ** 2 + ((y - K[1, 2]) / K[1, 1]) ** 2
    far = np.abs(r2 - 1 / 2.7) > 1e-3
    np.testing.assert_array_equal(np.isnan(lens.lookup()[..., 0])[far], (r2 > 1 / 2.7)[far])


@pytest.mark.parametrize(
    ("K_", "coefficients", "line"),
    [
        (K, (1.0, 2.0), "a lens has 2 distortion coefficients; expected 0, 4, 5 or 8"),
        (K, (np.nan, 0, 0, 0, 0), "a lens has numbers that are not finite"),
        (np.full((3, 3), np.inf), (), "a lens has numbers that are not finite"),
        (-K, (), "a lens has focal lengths of -100 and -103 pixels; expected positive ones"),
    ],
)
def test_lenses_that_are_none(K_: np.ndarray, coefficients: tuple[float, ...], line: str) -> None:
    with pytest.raises(UserError, match=line):
        Lens(K_, np.array(coefficients), WIDTH, HEIGHT)
