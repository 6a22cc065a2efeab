"""Lens distortion by OpenCV's model, in float64: from pixels of a pin-hole camera to those of the real one, and back.

With x = (X - cx) / fx, y = (Y - cy) / fy of a pin-hole pixel (X, Y), r² = x² + y² and

    radial = (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶)
    x' = x radial + 2 p1 x y + p2 (r² + 2 x²)
    y' = y radial + p1 (r² + 2 y²) + 2 p2 x y

the real lens shows that pixel at K (x', y', 1). Pixel centres lie at integers, as OpenCV's do.

Beyond some radius a fitted polynomial turns back (*folds*): two pixels of the pin-hole picture would lie at one place
of the real one. Nothing was seen out there.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Num

from na_ray.config.values import UserError

LENGTHS = (0, 4, 5, 8)
"""How many coefficients OpenCV's model may have here."""
EXACT = 1e-9
"""Pixels by which `undistort` may miss."""
_STEPS = 50
# Radii at which the radial polynomial is looked at for its fold.
_RADII = 4096


@dataclass(frozen=True, eq=False)
class Lens:
    """A camera's intrinsics and lens, as calibrated."""

    K: Float64[np.ndarray, "3 3"]
    """Intrinsics in pixels of its pictures."""
    distortion: Float64[np.ndarray, "n"]
    """k1 k2 p1 p2 [k3 [k4 k5 k6]], OpenCV's order; none, or zeros: the lens bends nothing."""
    width: int
    """Columns of its pictures."""
    height: int
    """Rows of its pictures."""

    def __post_init__(self) -> None:
        K, coefficients = np.asarray(self.K), np.asarray(self.distortion)
        if len(coefficients) not in LENGTHS:
            known = "expected 0, 4, 5 or 8 (k1 k2 p1 p2 k3 k4 k5 k6, OpenCV's order)"
            raise UserError(f"a lens has {len(coefficients)} distortion coefficients; {known}: calibrate it so")
        if not (np.isfinite(K).all() and np.isfinite(coefficients).all()):
            raise UserError("a lens has numbers that are not finite; expected finite ones: calibrate it again")
        if K[0, 0] <= 0 or K[1, 1] <= 0:
            found = f"focal lengths of {K[0, 0]:g} and {K[1, 1]:g} pixels"
            raise UserError(f"a lens has {found}; expected positive ones: calibrate it again")

    @property
    def bends(self) -> bool:
        """Whether it distorts at all."""
        return bool(np.any(self.distortion != 0))

    def undistorted(self) -> "Lens":
        """The pin-hole camera of the undistorted pictures: the same intrinsics and size."""
        return replace(self, distortion=np.zeros(0))

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens for its pictures area-averaged to another size."""
        scale = np.array([width / self.width, height / self.height])
        K = self.K.copy()
        K[:2] *= scale[:, None]
        K[:2, 2] = (self.K[:2, 2] + 0.5) * scale - 0.5
        return replace(self, K=K, width=width, height=height)

    def distort(self, points: Num[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """Where the real lens shows pixels (x, y) of the undistorted picture."""
        if not self.bends:
            return points.astype(np.float64)
        return self._to_pixels(self._bend(self._to_plane(points)))

    def undistort(self, points: Num[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """Where pixels (x, y) of the real picture lie in the undistorted one, to 1e-9 pixels.

        Raises UserError where the lens folds before it comes there.
        """
        if not self.bends:
            return points.astype(np.float64)
        found = target = self._to_plane(points)
        for _ in range(_STEPS):
            missing = target - self._bend(found)
            if np.abs(missing * self.K[[0, 1], [0, 1]]).max(initial=0) < EXACT / 10:
                break
            found = found + self._step(found, missing)
        wrong = np.abs(self._bend(found) - target).max(axis=1) * max(self.K[0, 0], self.K[1, 1]) > EXACT
        wrong |= self._folds(found)
        if wrong.any():
            x, y = points[wrong.argmax()]
            what = f"the lens {self._spelled()} folds before it comes to pixel ({x:.0f}, {y:.0f})"
            raise UserError(f"{what}: calibrate with fewer coefficients (k3 = 0), or with boards in the corners")
        return self._to_pixels(found)

    def lookup(self) -> Float64[np.ndarray, "h w 2"]:
        """Where each pixel of the undistorted picture lies in the real one; not a number where the lens folds."""
        places = np.empty((self.height, self.width, 2))
        for y in range(self.height):  # row by row: the intermediate values of a large picture are many
            row = np.stack([np.arange(self.width), np.full(self.width, y)], axis=1)
            places[y] = self.distort(row)
            places[y][self._folds(self._to_plane(row))] = np.nan
        return places

    @cached_property
    def _fold(self) -> float:
        """The squared radius at which the radial polynomial stops to grow."""
        corners = self._to_plane(np.array([[-1, -1], [self.width, -1], [-1, self.height], [self.width, self.height]]))
        r2 = np.linspace(0, 4 * float((corners**2).sum(axis=1).max()), _RADII)
        radial, slope, below = self._radial(r2)
        stops = (radial + 2 * r2 * slope <= 0) | (below <= 0)
        return float(r2[stops.argmax()]) if stops.any() else np.inf

    def _folds(self, plane: Float64[np.ndarray, "n 2"]) -> np.ndarray:
        a, b, c, d = self._slopes(plane)
        return ((plane**2).sum(axis=1) >= self._fold) | (a * d - b * c <= 0)

    def _radial(self, r2: Float64[np.ndarray, "n"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The radial factor, its derivative by r², and its denominator."""
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients
        above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        above_slope, below_slope = k1 + r2 * (2 * k2 + r2 * 3 * k3), k4 + r2 * (2 * k5 + r2 * 3 * k6)
        with np.errstate(divide="ignore", invalid="ignore"):
            return above / below, (above_slope * below - above * below_slope) / below**2, below

    def _bend(self, plane: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """(x, y) to (x', y')."""
        _, _, p1, p2, *_ = self._coefficients
        x, y = plane.T
        r2 = x**2 + y**2
        radial = self._radial(r2)[0]
        across = 2 * x * y
        bent_x = x * radial + p1 * across + p2 * (r2 + 2 * x**2)
        bent_y = y * radial + p1 * (r2 + 2 * y**2) + p2 * across
        return np.stack([bent_x, bent_y], axis=1)

    def _slopes(self, plane: Float64[np.ndarray, "n 2"]) -> tuple[np.ndarray, ...]:
        """dx'/dx, dx'/dy, dy'/dx, dy'/dy."""
        _, _, p1, p2, *_ = self._coefficients
        x, y = plane.T
        radial, slope, _ = self._radial(x**2 + y**2)
        mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        along_x = radial + 2 * x**2 * slope + 2 * p1 * y + 6 * p2 * x
        along_y = radial + 2 * y**2 * slope + 6 * p1 * y + 2 * p2 * x
        return along_x, mixed, mixed, along_y

    def _step(
        self, plane: Float64[np.ndarray, "n 2"], missing: Float64[np.ndarray, "n 2"]
    ) -> Float64[np.ndarray, "n 2"]:
        """Newton's; where the lens folds, the plain difference."""
        a, b, c, d = self._slopes(plane)
        determinant = a * d - b * c
        good = (determinant > 1e-3) & np.isfinite(determinant)
        safe = np.where(good, determinant, 1)
        x, y = missing.T
        newton = np.stack([(d * x - b * y) / safe, (a * y - c * x) / safe], axis=1)
        return np.where(good[:, None], newton, missing)

    @cached_property
    def _coefficients(self) -> tuple[float, ...]:
        values = np.zeros(8)
        values[: len(self.distortion)] = self.distortion
        return tuple(map(float, values))

    def _to_plane(self, points: Num[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        y = (points[:, 1] - self.K[1, 2]) / self.K[1, 1]
        x = (points[:, 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        return np.stack([x, y], axis=1)

    def _to_pixels(self, plane: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        return plane @ self.K[:2, :2].T + self.K[:2, 2]

    def _spelled(self) -> str:
        return f"({', '.join(f'{k:g}' for k in self.distortion)})"
