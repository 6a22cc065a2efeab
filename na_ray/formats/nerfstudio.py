"""nerfstudio's `camera_path.json`: OpenGL axes (x right, y up, z backward), a vertical field of view in degrees."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from na_ray.capture.camera import Camera
from na_ray.capture.checks.numbers import rigid_fault
from na_ray.capture.framing import from_opengl
from na_ray.capture.rig import parse_json
from na_ray.capture.storage import read_text
from na_ray.capture.trajectory import from_file
from na_ray.config.values import UserError


def read_cameras(path: str | os.PathLike[str]) -> list[Camera]:
    """Cameras of a JSON file, ours (`na_ray.capture.trajectory.to_file`) or nerfstudio's. Raises UserError."""
    where = os.fspath(path)
    values = parse_json(read_text(where), where)
    if "camera_path" in values:
        return _read_path(values, where)
    return from_file(where)


def _read_path(values: dict[str, Any], where: str) -> list[Camera]:
    kind = values.get("camera_type", "perspective")
    if kind != "perspective":
        raise UserError(f"{where}: camera_type is {kind!r}; expected 'perspective', the one that can be drawn")
    size = [values.get(key) for key in ("render_height", "render_width")]
    if not all(isinstance(n, int) and n >= 1 for n in size):
        raise UserError(f"{where}: render_height and render_width are {size}; expected positive whole numbers")
    path = values["camera_path"]
    if not isinstance(path, list) or not path:
        raise UserError(f"{where}: camera_path is empty; expected a list of cameras: export it again")
    return [_read_camera(value, i, int(str(size[0])), int(str(size[1])), where) for i, value in enumerate(path)]


def _read_camera(value: Any, i: int, height: int, width: int, where: str) -> Camera:
    """One of its cameras, in our axes; pixels are square, and the picture's middle is its centre."""
    name = f"{where}, camera {i}"
    try:
        T = np.array(value["camera_to_world"], np.float64).reshape(-1)
        fov = float(value["fov"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{name}: expected camera_to_world, 16 numbers, and fov, one: export it again") from None
    if len(T) not in (12, 16) or not np.isfinite(T).all() or not 0 < fov < 180:
        raise UserError(
            f"{name}: {len(T)} numbers and a fov of {fov:g}; expected 16, and 0 to 180 degrees: export it again"
        )
    pose = np.eye(4)
    pose[:3] = T.reshape(-1, 4)[:3]
    fault = rigid_fault(pose[:3, :3])
    if fault:
        raise UserError(f"{name}: camera_to_world {fault}: export it again")
    focal = height / 2 / np.tan(np.radians(fov) / 2)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return from_opengl(Camera(f"path_{i:04d}", K, pose, height, width))


def write_cameras(cameras: Sequence[Camera], path: str | os.PathLike[str], fps: float | int) -> None:
    """Write cameras of one size as nerfstudio's path. A principal point that is off the centre is lost in it."""
    first = cameras[0]
    if len({(c.height, c.width) for c in cameras}) > 1:
        raise UserError(f"{os.fspath(path)}: the cameras differ in resolution: give --size")
    rows = [
        {
            "camera_to_world": from_opengl(c).T_world_camera.reshape(-1).tolist(),
            "fov": float(np.degrees(2 * np.arctan(c.height / 2 / c.K[1, 1]))),
            "aspect": c.width / c.height,
        }
        for c in cameras
    ]
    head = {"camera_type": "perspective", "render_height": first.height, "render_width": first.width}
    values = {**head, "fps": fps, "seconds": len(rows) / fps, "camera_path": rows}
    aside = f"{os.fspath(path)}.{os.getpid()}.partial"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
    os.replace(aside, path)
