"""A camera as calibration programs describe it: with the distortion of its lens, world to camera."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from na_ray.capture.checks.numbers import rigid_fault
from na_ray.config.values import UserError

MOST = 8
"""Distortion coefficients of OpenCV's rational model: k1 k2 p1 p2 k3 k4 k5 k6."""


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """One camera of a calibration."""

    name: str
    """As the program calls it."""
    K: Float64[np.ndarray, "3 3"]
    """Pixels of the full-size picture; centres lie at integers."""
    distortion: Float64[np.ndarray, "8"]
    """k1 k2 p1 p2 k3 k4 k5 k6, as OpenCV has them; zeros: none."""
    T_camera_world: Float64[np.ndarray, "4 4"]
    """World to camera, in the calibration's unit of length; OpenCV's axes."""
    width: int | None = None
    """Columns of the picture that K is for; None where the file does not say."""
    height: int | None = None
    """Its rows."""


def printable(name: object) -> str:
    """What a file calls something, for a message: on one line, and not long."""
    return "".join(c if c.isprintable() else "?" for c in str(name)[:80])


def calibrated(
    where: str,
    name: str,
    K: np.ndarray,
    distortion: np.ndarray | Sequence[float],
    R: np.ndarray,
    T: np.ndarray,
    size: tuple[int | None, int | None] = (None, None),
) -> CalibratedCamera:
    """A camera of sound numbers. `size`: (width, height). Raises UserError, naming `where`, for others."""
    coefficients = np.asarray(distortion, np.float64).reshape(-1)
    for what, values, shape in (("K", K, (3, 3)), ("R", R, (3, 3)), ("T", T, (3,))):
        if values.shape != shape:
            found = "x".join(map(str, values.shape))
            raise UserError(f"{where}: {what} is {found}; expected {'x'.join(map(str, shape))}: calibrate again")
    if len(coefficients) > MOST and np.abs(coefficients[MOST:]).max() > 0:
        found = f"{len(coefficients)} distortion coefficients (thin prism or tilted sensor)"
        raise UserError(f"{where}: {found}; expected at most {MOST}: calibrate with OpenCV's usual or rational model")
    if not all(np.isfinite(v).all() for v in (K, coefficients, R, T)):
        raise UserError(f"{where}: numbers that are not finite; expected finite ones: calibrate again")
    if K[0, 0] <= 0 or K[1, 1] <= 0 or np.abs(K[2] - [0, 0, 1]).max() > 1e-6 or abs(K[1, 0]) > 1e-6:
        raise UserError(f"{where}: K is {K.tolist()}; expected [fx s cx; 0 fy cy; 0 0 1]: calibrate again")
    fault = rigid_fault(R)
    if fault:
        raise UserError(f"{where}: the rotation {fault}: calibrate again")
    if np.linalg.det(R) < 0:
        raise UserError(f"{where}: the rotation mirrors (its determinant is -1); expected +1: calibrate again")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = R, T
    padded = np.zeros(MOST)
    padded[: len(coefficients[:MOST])] = coefficients[:MOST]
    return CalibratedCamera(name, K.astype(np.float64), padded, pose, *size)
