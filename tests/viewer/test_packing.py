"""What the browser is sent: exact but for float16 and 8 bits, against naive sums in float64."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from na_ray.models.gaussians import Gaussians
from na_ray.viewer.packing import BROWSER_BLUR, LEAST_AREA, SCALE, pack

EYE = np.array([0.4, 1.1, 2.9])
PIXEL = 1 / 700


@dataclass(frozen=True)
class SomeFrame:
    """Gaussians and where they lie."""

    origin: np.ndarray
    gaussians: Gaussians


def rotations(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(n)])


def some_frame(n: int, scales: tuple[float, float], opacity: tuple[float, float] = (0, 1)) -> SomeFrame:
    rng = np.random.default_rng(5)
    stds = np.exp(rng.uniform(*np.log(scales), (n, 1, 3)))
    arrays = (
        rng.uniform(-1, 1, (n, 3)),
        rotations(n, rng) * stds,
        rng.uniform(*opacity, n),
        rng.uniform(-0.2, 1.2, (n, 3)),
        rotations(n, rng),
        rng.normal(size=(9, n)),
    )
    return SomeFrame(np.array([3.0, -1.0, 0.5]), Gaussians(*(torch.tensor(a, dtype=torch.float32) for a in arrays)))


def unpacked(buffer: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(centers m, covariances m^2, RGBA in 0..255), as the browser's shader reads them."""
    centers = np.ascontiguousarray(buffer[:, :3]).view(np.float32).astype(np.float64) * SCALE
    a, b, c, d, e, f = np.ascontiguousarray(buffer[:, 4:7]).view(np.float16).astype(np.float64).T * SCALE**2
    covariances = np.stack([np.stack([a, b, c]), np.stack([b, d, e]), np.stack([c, e, f])]).transpose(2, 0, 1)
    return centers, covariances, np.ascontiguousarray(buffer[:, 7:]).view(np.uint8).reshape(-1, 4)


def test_centers_covariances_and_colors_are_those_of_a_naive_sum() -> None:
    frame = some_frame(200, (1e-4, 3e-2))
    centers, covariances, rgba = unpacked(pack(frame.gaussians, frame.origin, EYE, PIXEL))
    g = frame.gaussians
    for i in range(200):
        M = g.factors[i].double().numpy()
        place = g.means[i].double().numpy() + frame.origin
        away = place - EYE
        opacity = float(g.opacities[i])
        spread = 1.02 * (np.sqrt(LEAST_AREA / max(opacity, 0.05)) - BROWSER_BLUR) * (np.linalg.norm(away) * PIXEL) ** 2
        expected = M @ M.T + spread * np.eye(3)
        assert np.allclose(centers[i], place, atol=1e-6)
        # Half a unit in the last place of float16, or half its smallest step (2^-25) in mm^2.
        assert np.all(np.abs(covariances[i] - expected) <= np.abs(expected) * (2**-11 + 1e-6) + 2**-25 * SCALE**2)
        C = g.changes[:, i].double().numpy().reshape(3, 3)
        color = g.colors[i].double().numpy() + 0.1 * C @ (
            g.frames[i].double().numpy().T @ (away / np.linalg.norm(away))
        )
        wanted = np.clip([*color, opacity], 0, 1) * 255
        assert np.all(np.abs(rgba[i] - wanted) <= 0.5 + 1e-3)


def test_thin_gaussians_stay_positive() -> None:
    """Sheets of 0.1 mm by 5 mm, seen from near: in metres^2 float16 would make them indefinite."""
    frame = some_frame(500, (1e-4, 5e-3))
    _, covariances, _ = unpacked(pack(frame.gaussians, frame.origin, frame.origin + np.array([0, 0, 1.8]), PIXEL))
    assert np.linalg.eigvalsh(covariances).min() > 0
    naive = (frame.gaussians.factors @ frame.gaussians.factors.mT).numpy().astype(np.float16).astype(np.float64)
    assert np.linalg.eigvalsh(naive).min() < 0, "what the scale is for"


@pytest.mark.parametrize("distance", [1.0, 4.0, 20.0])
def test_the_browser_leaves_out_no_gaussian_however_far(distance: float) -> None:
    """Its shader drops those whose opacity x determinant of the covariance in pixels is below 0.25."""
    frame = some_frame(200, (1e-5, 1e-3), opacity=(0.1, 1))
    eye = frame.origin + np.array([0, 0, distance + 1])
    centers, covariances, rgba = unpacked(pack(frame.gaussians, frame.origin, eye, PIXEL))
    depth = (eye - centers)[:, 2]
    for i in range(200):
        focal = 1 / PIXEL / depth[i]
        off = (eye - centers[i])[:2] / depth[i]
        J = focal * np.array([[1, 0, -off[0]], [0, 1, -off[1]]])
        projected = J @ covariances[i] @ J.T + 0.3 * np.eye(2)
        assert rgba[i, 3] / 255 * np.linalg.det(projected) >= 0.25, (i, depth[i])
