"""Paths of a camera that need no capture: circles, zooms, a look from a point, and key frames written by hand."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.camera import Camera
from na_ray.capture.rig import parse_json
from na_ray.capture.storage import read_text
from na_ray.capture.trajectory import interpolate, look_at
from na_ray.config.values import UserError


def lens(height: int, width: int, fov: float | int) -> Float64[np.ndarray, "3 3"]:
    """K of a camera with square pixels that sees `fov` degrees along its longer side."""
    if not 0 < fov < 180:
        raise UserError(f"a field of view of {fov:g} degrees: expected between 0 and 180")
    focal = max(height, width) / 2 / np.tan(np.radians(fov) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def around(
    num_views: int,
    K: Float[np.ndarray, "3 3"],
    size: tuple[int, int],
    at: Sequence[float | int] | Float[np.ndarray, "3"],
    up: Sequence[float | int],
    axis: Sequence[float | int] | None = None,
    radius: tuple[float | int, float | int] = (3.0, 3.0),
    height: tuple[float | int, float | int] = (0.0, 0.0),
    start: float | int = 0.0,
    speed: float | int = 3.0,
) -> list[Camera]:
    """Cameras on circles round `at` (m, world), looking there; `radius` and `height` (m, first and last view) go evenly
    from the first to the second.

    `axis`: of the circles, None: `up`. `start`, `speed`: degrees, and degrees a view, from the z axis towards the x
    axis where y is up. `size`: (height, width) in pixels. Raises UserError for a radius that is not positive.
    """
    if min(radius) <= 0:
        raise UserError(f"a radius of {min(radius):g} m: expected a positive one")
    center = np.array(at, np.float64)
    top, pole = _unit(up, "up"), _unit(up if axis is None else axis, "axis")
    ahead = np.eye(3)[2] if abs(pole[2]) < 0.9 else np.eye(3)[0]
    ahead = _unit(ahead - pole * (ahead @ pole), "axis")
    cameras = []
    for i, share in enumerate(np.linspace(0, 1, num_views)):
        out = Rotation.from_rotvec(np.radians(start + speed * i) * pole).apply(ahead)
        eye = center + _between(radius, share) * out + _between(height, share) * pole
        cameras.append(Camera(f"path_{i:04d}", K, look_at(eye, center, top), *size))
    return cameras


def _between(ends: tuple[float | int, float | int], share: float | int) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def _unit(vector: Sequence[float | int] | Float[np.ndarray, "3"], what: str) -> Float64[np.ndarray, "3"]:
    length = float(np.linalg.norm(vector))
    if not length > 0 or not np.isfinite(length):
        raise UserError(f"{what} is {list(vector)}: expected a direction")
    return np.asarray(vector, np.float64) / length


def read_keys(path: str | os.PathLike[str], size: tuple[int, int]) -> tuple[list[Camera], list[float]]:
    """(cameras, their seconds) of key frames written by hand.

    `{"up": [0, 1, 0], "keys": [{"seconds": 0, "eye": [0, 1, 3], "at": [0, 1, 0], "fov": 40}, ...]}`; metres, `fov`
    degrees along the longer side. Raises UserError, one line, naming the key frame.
    """
    where = os.fspath(path)
    values = parse_json(read_text(where), where)
    keys = values.get("keys")
    if not isinstance(keys, list) or len(keys) < 2:
        raise UserError(f"{where}: expected 'keys', a list of two or more {{seconds, eye, at, fov}}: write them there")
    up = _three(values.get("up", [0, 1, 0]), f"{where}: up")
    cameras, seconds = [], []
    for i, key in enumerate(keys):
        name = f"{where}, key {i}"
        if not isinstance(key, dict):
            raise UserError(f"{name} is {key!r}; expected {{seconds, eye, at, fov}}")
        eye, target = (_three(key.get(word), f"{name}: {word}") for word in ("eye", "at"))
        fov, time = key.get("fov", 40.0), key.get("seconds", float("nan"))
        if not all(isinstance(n, int | float) and np.isfinite(n) for n in (fov, time)):
            raise UserError(f"{name}: fov and seconds are {fov!r} and {time!r}; expected two numbers")
        try:
            cameras.append(Camera(f"key_{i:04d}", lens(*size, fov), look_at(eye, target, up), *size))
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
        seconds.append(float(time))
    return cameras, seconds


def _three(value: Any, where: str) -> Float64[np.ndarray, "3"]:
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != (3,) or not np.isfinite(found).all():
        raise UserError(f"{where} is {value!r}; expected three numbers")
    return found


def through_keys(cameras: Sequence[Camera], seconds: Sequence[float | int], fps: float | int) -> list[Camera]:
    """A smooth path through key frames, a camera a frame from the first key to the last."""
    count = round((seconds[-1] - seconds[0]) * fps) + 1
    if count < 2:
        raise UserError(f"key frames from {seconds[0]:g} to {seconds[-1]:g} s: expected ascending seconds")
    return interpolate(cameras, count, times=seconds)
