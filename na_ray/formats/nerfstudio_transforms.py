"""nerfstudio's `transforms.json`: camera to world with OpenGL's axes, intrinsics for all frames or for each.

Pixel centres lie at halves there, at integers here. Its world is whatever the program that wrote it made of it.
"""

import posixpath
from typing import Any

import numpy as np

from na_ray.capture.rig import parse_json
from na_ray.config.values import UserError
from na_ray.formats.arrays import read_small
from na_ray.formats.calibrated import CalibratedCamera, calibrated, printable

MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "perspective", "")
COEFFICIENTS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
LARGEST = 2**27


def read_transforms(path: str) -> tuple[CalibratedCamera, ...]:
    """The cameras of a file, named after their pictures. Raises UserError, one line."""
    values = parse_json(read_small(path, LARGEST), path)
    frames = values.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"{path}: frames is no list of cameras; expected nerfstudio's: export it again")
    names = _names([frame.get("file_path", i) for i, frame in enumerate(frames)], path)
    return tuple(_camera(values | frame, name, f"{path}, {name}") for frame, name in zip(frames, names, strict=True))


def _names(files: list[Any], path: str) -> list[str]:
    """Of the cameras: the folder of the picture, if each has one of its own, else the picture's name."""
    texts = [str(file).replace("\\", "/") for file in files]
    folders = [posixpath.basename(posixpath.dirname(text)) for text in texts]
    stems = [posixpath.splitext(posixpath.basename(text))[0] for text in texts]
    chosen = folders if all(folders) and len(set(folders)) == len(texts) else stems
    if len(set(chosen)) < len(chosen):
        twice = next(name for name in chosen if chosen.count(name) > 1)
        raise UserError(f"{path}: {chosen.count(twice)} frames of {twice[:60]!r}; expected one frame a camera")
    return [printable(name) for name in chosen]


def _camera(values: dict[str, Any], name: str, where: str) -> CalibratedCamera:
    model = values.get("camera_model", "")
    if model not in MODELS:
        raise UserError(f"{where}: camera_model is {str(model)[:40]!r}; expected OPENCV or PINHOLE: undistort it first")
    if values.get("is_fisheye"):  # instant-ngp's word for it, without a camera_model
        raise UserError(f"{where}: is_fisheye is set; expected OpenCV's usual model: undistort it first")
    try:
        matrix = np.array(values["transform_matrix"], np.float64)
        width, height = (int(values[key]) for key in ("w", "h"))
    except KeyError as error:
        raise UserError(f"{where}: {error} is missing; expected transform_matrix, w and h: export it again") from None
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: transform_matrix, w or h is no number: export it again") from None
    if matrix.shape not in ((4, 4), (3, 4)) or not np.isfinite(matrix).all():
        found = "x".join(map(str, matrix.shape))
        raise UserError(f"{where}: transform_matrix is {found}; expected 4x4 finite numbers: export it again")
    if not (0 < width < 2**16 and 0 < height < 2**16):
        raise UserError(f"{where}: w and h are {width} and {height}; expected the picture's pixels: export it again")
    K = _intrinsics(values, width, height, where)
    pose = matrix[:3] @ np.diag([1.0, -1, -1, 1])
    R = pose[:, :3].T
    distortion = np.array([_number(values, key, 0.0, where) for key in COEFFICIENTS])
    if distortion[5] and not distortion[6:].any():  # OpenCV's has k5 and k6, too, and divides by them
        found = f"k4 is {distortion[5]:g} without k5 and k6: a fourth radial coefficient, as fish eyes have"
        raise UserError(f"{where}: {found}; expected OpenCV's usual or rational model: undistort it first")
    return calibrated(where, name, K, distortion, R, -R @ pose[:, 3], (width, height))


def _intrinsics(values: dict[str, Any], width: int, height: int, where: str) -> np.ndarray:
    """fl_x, fl_y, cx, cy; or the horizontal field of view in radians."""
    if "fl_x" in values:
        fx = _number(values, "fl_x", 0.0, where)
        fy = _number(values, "fl_y", fx, where)
    elif "camera_angle_x" in values:
        angle = _number(values, "camera_angle_x", 0.0, where)
        if not 0 < angle < np.pi:
            raise UserError(f"{where}: camera_angle_x is {angle:g}; expected radians below pi: export it again")
        fx = fy = width / 2 / np.tan(angle / 2)
    else:
        raise UserError(f"{where}: neither fl_x nor camera_angle_x; expected nerfstudio's intrinsics: export it again")
    cx, cy = _number(values, "cx", width / 2, where), _number(values, "cy", height / 2, where)
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])


def _number(values: dict[str, Any], key: str, missing: float, where: str) -> float:
    try:
        return float(values.get(key, missing))
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: {key} is no number: export it again") from None
