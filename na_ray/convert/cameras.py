"""Calibrated cameras of other programs as those of a capture: in natural order, for pictures of one size, in metres."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from na_ray.capture.camera import Camera
from na_ray.config.values import UserError
from na_ray.convert.clips import natural
from na_ray.formats.calibrated import CalibratedCamera

SAME_SHAPE = 0.01
"""Two sizes of a picture are one shape where their ratios differ by no more."""
CROOKED = 0.02
"""Tangential coefficients beyond this are none: real ones are a tenth of it."""


def ordered(cameras: Sequence[CalibratedCamera], chosen: Sequence[str], where: str) -> list[CalibratedCamera]:
    """In natural order of their names; `chosen`: names of those to take, all if none. Raises UserError."""
    known = {camera.name: camera for camera in cameras}
    wrong = [name for name in chosen if name not in known]
    if wrong:
        raise UserError(
            f"{where}: there is no camera {wrong[0]!r}; it has {', '.join(sorted(known, key=natural))[:120]}"
        )
    return [known[name] for name in sorted(set(chosen) or known, key=natural)]


def scaled(camera: CalibratedCamera, unit: float) -> CalibratedCamera:
    """The same camera where the calibration's unit of length is `unit` metres."""
    pose = camera.T_camera_world.copy()
    pose[:3, 3] *= unit
    return replace(camera, T_camera_world=pose)


def for_pictures(camera: CalibratedCamera, width: int, height: int, where: str) -> tuple[CalibratedCamera, list[str]]:
    """(the camera for pictures of this size, lines): intrinsics of another size are scaled where the file says which.

    Raises UserError where that is no size of the same shape, or the principal point lies off the picture.
    """
    lines = []
    if camera.width and camera.height and (camera.width, camera.height) != (width, height):
        sx, sy = width / camera.width, height / camera.height
        found = f"calibrated at {camera.width}x{camera.height}, the pictures have {width}x{height} pixels"
        if abs(sx / sy - 1) > SAME_SHAPE:
            raise UserError(
                f"{where}, camera {camera.name}: {found}; expected one shape: calibrate with these pictures"
            )
        K = camera.K.copy()
        # A pixel's centre lies at an integer: the picture's corner at -.5 stays where it is.
        K[:2, 2] += 0.5
        K[:2] *= np.array([[sx], [sy]])
        K[:2, 2] -= 0.5
        camera = replace(camera, K=K)
        lines.append(f"camera {camera.name}: {found}: its matrix is scaled by {sx:.4g}")
    cx, cy = camera.K[0, 2], camera.K[1, 2]
    if not (0 < cx < width and 0 < cy < height):
        found = f"the principal point ({cx:.0f}, {cy:.0f}) lies off the picture of {width}x{height} pixels"
        todo = "the matrix seems to be for pictures of another size: convert those, or scale its first two rows"
        raise UserError(f"{where}, camera {camera.name}: {found}: {todo}")
    return replace(camera, width=width, height=height), lines


def crooked(cameras: Sequence[CalibratedCamera]) -> list[str]:
    """A warning where coefficients are no usual lens's: those of a fish eye are four numbers, too."""
    odd = [camera for camera in cameras if np.abs(camera.distortion[2:4]).max() > CROOKED]
    if not odd:
        return []
    names = f"{', '.join(camera.name for camera in odd[:6])}{' and others' if len(odd) > 6 else ''}"
    p1, p2 = odd[0].distortion[2:4]
    found = f"camera {names}: p1 and p2 are {p1:g} and {p2:g}, and no lens is built so crooked"
    todo = "calibrate again; where they are k3 and k4 of a fish eye (cv2.fisheye), undistort the pictures with it first"
    return [f"warning: {found}: {todo}"]


def published(camera: CalibratedCamera, K: Float64[np.ndarray, "3 3"]) -> Camera:
    """The pinhole of a picture whose distortion was removed; `K`: the matrix of that picture."""
    assert camera.width is not None and camera.height is not None
    R, T = camera.T_camera_world[:3, :3], camera.T_camera_world[:3, 3]
    # Texts of six digits are no rotations to the last one: the nearest rotation is.
    u, _, v = np.linalg.svd(R)
    pose = np.eye(4)
    pose[:3, :3] = (u @ v).T
    pose[:3, 3] = -(u @ v).T @ T
    return Camera(camera.name, K, pose, camera.height, camera.width)
