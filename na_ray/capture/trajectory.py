"""Paths of a camera: around the body, along a spiral, between given cameras, as recorded, or from a file.

All cameras follow `na_ray.capture.camera`: OpenCV axes, metres, pixel centres at integers.
"""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from na_ray.capture.camera import Camera
from na_ray.capture.checks.numbers import rigid_fault
from na_ray.capture.checks.scale import LOOKS, Sight, bodies_of, cause, measurable, pose_faults
from na_ray.capture.dataset import Split
from na_ray.capture.rig import Pose, parse_json
from na_ray.capture.storage import read_text
from na_ray.config import parse_indices
from na_ray.config.values import UserError


def body_center(poses: Iterable[Pose]) -> Float64[np.ndarray, "3"]:
    """Where to look: the middle of the box round all joints of all poses, world, metres."""
    joints = np.concatenate([pose.joints for pose in poses]).astype(np.float64)
    return (joints.min(axis=0) + joints.max(axis=0)) / 2


def up_of(cameras: Sequence[Camera]) -> Float64[np.ndarray, "3"]:
    """The world's up, as recorded cameras stand: their mean, snapped to an axis that is within 20 degrees of it."""
    up = -np.mean([camera.T_world_camera[:3, 1] for camera in cameras], axis=0)
    up /= np.linalg.norm(up)
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) < np.cos(np.radians(20)):
        return up
    snapped = np.zeros(3)
    snapped[axis] = np.sign(up[axis])
    return snapped


def look_at(
    eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """`T_world_camera` of a camera at `eye` that looks at `target`. Raises UserError when it would look along `up`."""
    forward = np.asarray(target, np.float64) - eye
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-9 * max(1.0, float(np.linalg.norm(forward))):
        raise UserError(f"camera at {np.round(eye, 3).tolist()}: looks along the up axis; expected another direction")
    z, x = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = x, np.cross(z, x), z, eye
    return pose


def orbit(
    template: Camera,
    center: Float[np.ndarray, "*n 3"],
    num_views: int,
    turns: float | int = 1.0,
    up: Float[np.ndarray, "3"] | Sequence[float] = (0.0, 1.0, 0.0),
    rise: float | int = 0.0,
) -> list[Camera]:
    """A circle round `center`, from where `template` stands, at its height and distance, looking at the center.

    `center` is one point (3,) or one a view (num_views, 3), metres: the camera then follows the actor. `rise` (m) is
    how far the camera goes up and down by the way. The last view is one step before the first of the next turn.
    """
    axis = np.asarray(up, np.float64) / np.linalg.norm(up)
    centers = np.broadcast_to(np.asarray(center, np.float64), (num_views, 3))
    arm = template.center - centers[0]
    cameras = []
    for i, angle in enumerate(2 * np.pi * turns * np.arange(num_views) / num_views):
        eye = centers[i] + Rotation.from_rotvec(angle * axis).apply(arm)
        eye += rise * np.sin(2 * np.pi * i / num_views) * axis
        cameras.append(_moved(template, f"orbit_{i:04d}", look_at(eye, centers[i], axis)))
    return cameras


def spiral(
    template: Camera,
    center: Float[np.ndarray, "*n 3"],
    num_views: int,
    radius: float | int = 0.5,
    turns: float | int = 2.0,
    up: Float[np.ndarray, "3"] | Sequence[float] = (0.0, 1.0, 0.0),
) -> list[Camera]:
    """Loops of a `radius` (m) that grows from 0 and shrinks again, across `template`'s view, looking at `center`."""
    axis = np.asarray(up, np.float64) / np.linalg.norm(up)
    centers = np.broadcast_to(np.asarray(center, np.float64), (num_views, 3))
    start = look_at(template.center, centers[0], axis)
    cameras = []
    for i, t in enumerate(np.arange(num_views) / max(1, num_views - 1)):
        angle, reach = 2 * np.pi * turns * t, radius * np.sin(np.pi * t)
        offset = reach * (np.cos(angle) * start[:3, 0] + np.sin(angle) * start[:3, 1])
        eye = template.center + offset + centers[i] - centers[0]
        cameras.append(_moved(template, f"spiral_{i:04d}", look_at(eye, centers[i], axis)))
    return cameras


def interpolate(
    cameras: Sequence[Camera], num_views: int, closed: bool = False, times: Sequence[float | int] | None = None
) -> list[Camera]:
    """A smooth path through `cameras`: cubic splines of rotation (on SO(3)), position and intrinsics.

    All pictures get the size of the first camera's. `closed` returns to the first camera, one step before its end.
    `times`: when the path is at each camera, ascending (None: evenly). Raises UserError for fewer than two cameras.
    """
    if len(cameras) < 2:
        raise UserError(f"a path between cameras needs at least two of them; got {len(cameras)}")
    keys = [camera.resized(cameras[0].height, cameras[0].width) for camera in cameras]
    keys += keys[:1] if closed else []
    moments = np.arange(len(keys), dtype=np.float64) if times is None else np.array(times, np.float64)
    if len(moments) != len(keys) or (np.diff(moments) <= 0).any():
        raise UserError(
            f"times of a path are {moments.tolist()}; expected one a camera, each later than the one before"
        )
    at = np.linspace(moments[0], moments[-1], num_views, endpoint=not closed)
    rotations = RotationSpline(moments, Rotation.from_matrix([k.T_world_camera[:3, :3] for k in keys]))(at)
    bc_type = "periodic" if closed else "not-a-knot" if len(keys) > 2 else "natural"
    centers = CubicSpline(moments, np.stack([k.center for k in keys]), bc_type=bc_type)(at)
    K = np.stack([[np.interp(t, moments, [k.K[r, c] for k in keys]) for r in range(3) for c in range(3)] for t in at])
    path = []
    for i, rotation in enumerate(rotations.as_matrix()):
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, centers[i]
        path.append(Camera(f"path_{i:04d}", K[i].reshape(3, 3), pose, keys[0].height, keys[0].width))
    return path


def recorded(split: Split, cameras: Sequence[int] | None = None) -> list[Camera]:
    """The cameras of a split as they stood; `cameras` are positions among them. Raises UserError for others."""
    count = len(split.cameras)
    for camera in cameras or ():
        if not 0 <= camera < count:
            raise UserError(f"{split.name}: no camera at position {camera}; there are {count}, from 0")
    return [split.cameras[i] for i in (range(count) if cameras is None else cameras)]


def along(choice: str, split: Split, frames: Sequence[int]) -> list[Camera]:
    """One camera per frame: `orbit`, `spiral`, a recorded one (`3`), a path through several (`0,4,8`), or a JSON file.

    Raises UserError for a choice that is none of these, a file with another number of cameras, or any but a file for a
    motion that was not filmed.
    """
    if choice.endswith(".json"):
        given = from_file(choice)
        if len(given) not in (1, len(frames)):
            raise UserError(f"{choice} holds {len(given)} cameras for {len(frames)} frames: give one, or one a frame")
        cameras = given * (len(frames) if len(given) == 1 else 1)
        check_sight(choice, cameras, split, frames)
        return cameras
    if split.files.kind == "poses":
        expected = "expected a JSON file of cameras (na_ray.capture.trajectory.to_file): --camera FILE.json"
        raise UserError(f"{split.files.folder}: was not filmed: there is no camera for {choice!r}; {expected}")
    filmed = split.cameras
    if choice in ("orbit", "spiral"):
        center = body_center(split.pose(f) for f in frames)
        path = orbit if choice == "orbit" else spiral
        return path(filmed[0], center, len(frames), up=up_of(filmed))
    chosen = [filmed[i] for i in parse_indices(choice, len(filmed), "--camera")]
    return chosen * len(frames) if len(chosen) == 1 else interpolate(chosen, len(frames))


def check_sight(where: str, cameras: Sequence[Camera], split: Split, frames: Sequence[int]) -> None:
    """Raise UserError where none of the cameras, one a frame, ever sees the body: a film of the background."""
    chosen = range(0, len(frames), max(1, len(frames) // LOOKS))
    rig, poses = split.rig, [split.pose(frames[i]) for i in chosen]
    looks = [(cameras[i], bodies_of(rig, [pose])) for i, pose in zip(chosen, poses, strict=True)]
    if not all(bodies for _, bodies in looks):  # a motion of another skeleton is refused elsewhere
        return
    sights = [Sight.of(camera, bodies) for camera, bodies in looks]
    pixels = max(s.extent * np.hypot(c.height, c.width) for s, (c, _) in zip(sights, looks, strict=True))
    if any(sight.share for sight in sights) and pixels >= 1:
        return
    # All of the cameras are wrong in the same way, or the motion is.
    faults = pose_faults(rig, poses)[0] if measurable(rig, poses) else []
    if faults:
        raise UserError(f"{split.files.folder}: {faults[0]}")
    advice = cause([looks[0][0]], looks[0][1]) or "look at the motion with na-ray inspect"
    expected = "expected T_world_camera in metres, x right, y down, z forward"
    raise UserError(f"{where}: the body of {split.files.folder} is in no picture; {expected}: {advice}")


def _moved(template: Camera, name: str, T_world_camera: Float64[np.ndarray, "4 4"]) -> Camera:
    return Camera(name, template.K, T_world_camera, template.height, template.width)


def to_file(cameras: Sequence[Camera], path: str | os.PathLike[str]) -> None:
    """Write cameras as the JSON that `from_file` reads."""
    values = [
        {
            "name": c.name,
            "height": c.height,
            "width": c.width,
            "K": c.K.tolist(),
            "T_world_camera": c.T_world_camera.tolist(),
        }
        for c in cameras
    ]
    aside = f"{os.fspath(path)}.partial"
    with open(aside, "w", encoding="utf-8") as file:
        json.dump({"cameras": values}, file, indent=1)
    os.replace(aside, path)


def from_file(path: str | os.PathLike[str]) -> list[Camera]:
    """Cameras from a JSON file: `{"cameras": [{"K": 3x3, "T_world_camera": 4x4, "height": h, "width": w}, ...]}`.

    Raises UserError, naming the camera and the field, where a value is missing or of another shape.
    """
    where = os.fspath(path)
    values = parse_json(read_text(where), where).get("cameras")
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: key 'cameras' is missing or empty; expected a list of cameras: see to_file")
    return [_from_json(value, i, f"{where}, camera {i}") for i, value in enumerate(values)]


def _from_json(value: Any, i: int, where: str) -> Camera:
    needed = ("K", "T_world_camera", "height", "width")
    missing = [key for key in needed if not isinstance(value, dict) or key not in value]
    if missing:
        raise UserError(f"{where}: {missing[0]} is missing; expected {', '.join(needed)}: add it")
    K, pose = (_matrix(value[key], size, f"{where}: {key}") for key, size in (("K", 3), ("T_world_camera", 4)))
    fault = rigid_fault(pose[:3, :3])
    if fault:
        raise UserError(f"{where}: T_world_camera {fault}: write the camera-to-world matrix")
    height, width = value["height"], value["width"]
    if not all(isinstance(n, int) and n >= 1 for n in (height, width)):
        raise UserError(f"{where}: height and width are {height!r} and {width!r}; expected positive whole numbers")
    return Camera(str(value.get("name", f"camera_{i:04d}")), K, pose, height, width)


def _matrix(value: Any, size: int, where: str) -> Float64[np.ndarray, "n n"]:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        raise UserError(f"{where} is no matrix of numbers; expected {size}x{size}") from None
    if matrix.shape != (size, size) or not np.isfinite(matrix).all():
        found = "x".join(map(str, matrix.shape)) or "a number"
        raise UserError(f"{where} is {found}; expected {size}x{size} finite numbers")
    return matrix
