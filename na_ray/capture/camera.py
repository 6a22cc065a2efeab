"""Calibrated pin-hole cameras.

Axes are OpenCV's: x right, y down, z forward; `T_world_camera` takes camera coordinates to the world's. Pixel centres
lie at integer coordinates: (0, 0) is the centre of the top left pixel and an image spans [-0.5, width - 0.5].
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from na_ray.capture.storage import read_text
from na_ray.config.values import UserError


@dataclass(frozen=True, eq=False)
class Camera:
    """One calibrated camera, without lens distortion."""

    name: str
    """As its files are named, without ending."""
    K: Float64[np.ndarray, "3 3"]
    """Intrinsics in pixels of a `height` x `width` image."""
    T_world_camera: Float64[np.ndarray, "4 4"]
    """Camera to world, metres."""
    height: int
    """Rows of the image."""
    width: int
    """Columns of the image."""

    @property
    def center(self) -> Float64[np.ndarray, "3"]:
        """Where the camera stands in the world."""
        return self.T_world_camera[:3, 3]

    def rays(self, pixels: Float[np.ndarray, "n 2"]) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]:
        """World-space (origins, unit directions) through pixels (x, y).

        The direction is R d / (|R d| + 1e-8) with d = K^-1 (x, y, 1) (parity/nerf 3.1): unit but for 1e-8.
        """
        K = self.K
        y = (pixels[:, 1] - K[1, 2]) / K[1, 1]
        x = (pixels[:, 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
        directions = np.stack([x, y, np.ones_like(x)], axis=1) @ self.T_world_camera[:3, :3].T
        directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-8
        return np.broadcast_to(self.center, directions.shape).copy(), directions

    def project(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n"]]:
        """(pixels (x, y), depth along the optical axis in metres) of world points; depth <= 0 is behind the camera."""
        local = (points.astype(np.float64) - self.center) @ np.linalg.inv(self.T_world_camera[:3, :3]).T
        depth = local[:, 2]
        # A point in the camera's own plane has no picture: a tiny depth sends it far outside every image.
        safe = np.where(np.abs(depth) < 1e-12, 1e-12, depth)
        return (local @ self.K.T)[:, :2] / safe[:, None], depth

    def resized(self, height: int, width: int, parity: bool = False) -> "Camera":
        """The same camera for its image area-averaged to `height` x `width`.

        A small pixel u' covers s = W/w large ones, so its centre lies at u = (u' + 0.5) s - 0.5. The original takes
        u = u' s, half a large pixel off for s = 2 (parity/nerf 2.10); `parity` reproduces it.
        """
        scale = np.array([width / self.width, height / self.height])
        shift = 0.0 if parity else 0.5
        K = self.K.copy()
        K[:2] *= scale[:, None]
        K[:2, 2] = (self.K[:2, 2] + shift) * scale - shift
        return Camera(self.name, K, self.T_world_camera, height, width)

    def fitted(self, size: int) -> "Camera":
        """The same camera with its image shrunk, if need be, so that the longer side has `size` pixels."""
        scale = min(1.0, size / max(self.height, self.width))
        return self.resized(round(self.height * scale), round(self.width * scale))

    def pixel_grid(self) -> Float64[np.ndarray, "n 2"]:
        """(x, y) of every pixel, row by row: (height * width, 2)."""
        y, x = np.mgrid[: self.height, : self.width]
        return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)


def read_intrinsics(path: str) -> Float64[np.ndarray, "3 3"]:
    """K from a 3x3, 3x4, 4x4 or 1x16 text matrix; a first or last line of two numbers (an image size) is dropped.

    NSVF's form is read, too: a line `f cx cy 0`, then three that are not used.
    """
    rows = _rows(path)
    if len(rows) > 1 and len(rows[0]) == 2 != len(rows[1]):
        rows = rows[1:]
    if len(rows) > 1 and len(rows[-1]) == 2 != len(rows[0]):
        rows = rows[:-1]
    if [len(row) for row in rows] == [4, 3, 1, 1]:
        f, cx, cy, _ = rows[0]
        rows = [[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]]
    matrix = _square(path, rows, ((3, 3), (3, 4), (4, 4)))
    return np.ascontiguousarray(matrix[:3, :3])


def read_extrinsics(path: str, world_to_camera: bool = False) -> Float64[np.ndarray, "4 4"]:
    """`T_world_camera` from a 4x4, 3x4 or 1x16 text matrix, inverted when the file holds world-to-camera."""
    matrix = _square(path, _rows(path), ((3, 4), (4, 4)))
    matrix = np.vstack([matrix[:3], [[0.0, 0.0, 0.0, 1.0]]])
    if not world_to_camera:
        return matrix
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        raise UserError(f"{path}: the matrix cannot be inverted; expected a rigid motion: calibrate again") from None


def _rows(path: str) -> list[list[float]]:
    """The numbers of each line, lines of any length. Raises UserError with the line."""
    rows = []
    for n, line in enumerate(read_text(path).splitlines(), 1):
        try:
            rows.append([float(word) for word in line.replace(",", " ").split()])
        except ValueError:
            expected = "expected a row of numbers: copy the calibration again"
            raise UserError(f"{path}, line {n}: {line.strip()[:40]!r}: {expected}") from None
    return [row for row in rows if row]


def _square(path: str, rows: list[list[float]], shapes: tuple[tuple[int, int], ...]) -> Float64[np.ndarray, "r c"]:
    if len(rows) == 1 and len(rows[0]) == 16:
        rows = [rows[0][i : i + 4] for i in range(0, 16, 4)]
    if (len(rows), len(rows[0]) if rows else 0) not in shapes or len({len(row) for row in rows}) != 1:
        found = f"{len(rows)} rows of {'/'.join(str(n) for n in sorted({len(r) for r in rows})) or 0} numbers"
        expected = " or ".join(f"{r}x{c}" for r, c in shapes)
        raise UserError(f"{path}: {found}; expected a matrix of {expected} numbers: copy the calibration again")
    matrix = np.array(rows, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise UserError(f"{path}: numbers that are not finite; expected finite ones: copy the calibration again")
    return matrix
