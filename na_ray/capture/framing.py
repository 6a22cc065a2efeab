"""A camera that holds a whole motion in its picture: how far it must stand follows from where the body goes.

Symbols: c the camera's axes (right, down, forward), h half the field of view. A ball of radius r round x is in the
picture of a camera at -d forward where |right . x| cos h + r <= (forward . x + d) sin h, and the same downwards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.capture.trajectory import look_at
from na_ray.config.values import UserError

AROUND = 0.2
"""How far a body reaches round its joints, m, where nobody measured it."""

FOV = 40.0
"""Degrees of the default camera, along the longer side."""

THREE_QUARTERS = 30.0
"""Degrees round the body, from its front to its left, at which the default camera stands."""

RISE = 10.0
"""Degrees by which it looks down."""


@dataclass(frozen=True, eq=False)
class Extent:
    """Where a motion takes place, in few points."""

    points: Float64[np.ndarray, "n 3"]
    """The outermost joints of all frames, world, m."""
    front: Float64[np.ndarray, "3"]
    """Where the body faces at first, level."""
    up: Float64[np.ndarray, "3"]
    around: float = AROUND
    """How far the body reaches round its joints, m."""

    @property
    def center(self) -> Float64[np.ndarray, "3"]:
        """Middle of the box round all joints."""
        return (self.points.min(axis=0) + self.points.max(axis=0)) / 2

    @classmethod
    def of(
        cls, poses: Iterable[Pose], up: Float[np.ndarray, "3"], sides: tuple[int, int] | None, around: float = AROUND
    ) -> "Extent":
        """Of a motion; `sides`: a joint on the left and its counterpart on the right (hips), None: unknown."""
        aims = np.concatenate([Rotation.random(256, random_state=0).as_matrix()[:, 0], np.eye(3), -np.eye(3)])
        far = np.full(len(aims), -np.inf)
        points = np.zeros((len(aims), 3))
        front = None
        for pose in poses:
            joints = pose.joints.astype(np.float64)
            if front is None:
                front = facing(pose, up, sides)
            reach = joints @ aims.T
            best = reach.argmax(axis=0)
            farther = reach.max(axis=0) > far
            points[farther], far[farther] = joints[best[farther]], reach.max(axis=0)[farther]
        if front is None:
            raise UserError("a motion of no frames: there is nothing to film")
        return cls(np.unique(points, axis=0), front, np.asarray(up, np.float64), around)


def facing(pose: Pose, up: Float[np.ndarray, "3"], sides: tuple[int, int] | None) -> Float64[np.ndarray, "3"]:
    """The level direction that a body faces: the root's z axis where no joints tell left and right."""
    joints = pose.joints.astype(np.float64)
    ways = [] if sides is None else [np.cross(joints[sides[0]] - joints[sides[1]], up)]
    for way in (*ways, pose.rotation[2].astype(np.float64), *np.eye(3)):
        level = way - up * (way @ up)
        if np.linalg.norm(level) > 1e-3:
            return level / np.linalg.norm(level)
    raise AssertionError("three axes cannot all point upwards")


def holding(
    extent: Extent,
    size: tuple[int, int],
    fov: float | int = FOV,
    azimuth: float | int = THREE_QUARTERS,
    rise: float | int = RISE,
) -> Camera:
    """A camera whose picture, (height, width) pixels, holds the whole motion.

    `fov`: degrees along the longer side. `azimuth`: degrees from the front to the body's left; `rise`: upwards.
    """
    height, width = size
    focal = max(size) / 2 / np.tan(np.radians(fov) / 2)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    level = Rotation.from_rotvec(np.radians(azimuth) * extent.up).apply(extent.front)
    away = np.cos(np.radians(rise)) * level + np.sin(np.radians(rise)) * extent.up
    axes = look_at(extent.center + away, extent.center, extent.up)[:3, :3]
    local = (extent.points - extent.center) @ axes
    # The picture's centre is moved to the middle of what is seen, and the distance found there.
    distance, shift = 0.0, np.zeros(2)
    for _ in range(3):
        distance = max(
            _distance(local[:, k] - shift[k], local[:, 2], size[1 - k] / 2 / focal, extent.around) for k in (0, 1)
        )
        seen = (local[:, :2] - shift) / (local[:, 2:] + distance)
        shift = shift + (seen.max(axis=0) + seen.min(axis=0)) / 2 * distance
    distance = max(
        _distance(local[:, k] - shift[k], local[:, 2], size[1 - k] / 2 / focal, extent.around) for k in (0, 1)
    )
    pose = np.eye(4)
    pose[:3, :3] = axes
    pose[:3, 3] = extent.center + axes[:, :2] @ shift - distance * axes[:, 2]
    return Camera("still", K, pose, height, width)


def _distance(
    across: Float64[np.ndarray, "n"], along: Float64[np.ndarray, "n"], tangent: float, around: float
) -> float:
    """How far away a camera must be for all balls to be in its picture on one axis, m."""
    h = np.arctan(tangent)
    return float(np.max((np.abs(across) * np.cos(h) + around) / np.sin(h) - along))


def check_seen(cameras: Sequence[Camera], poses: Sequence[Pose], where: str) -> Sequence[Camera]:
    """The cameras, one for each pose, if any of them sees the body; those in OpenGL axes (y up, z backward) are turned
    to ours where that, and that alone, lets them see it.

    Raises UserError, one line, where they see nobody: the film would show the background alone.
    """
    if _sees(cameras, poses):
        return cameras
    turned = [from_opengl(camera) for camera in cameras]
    if _sees(turned, poses):
        return turned
    camera, joints = cameras[0], poses[0].joints
    found = f"no camera sees the body: the first is at {np.round(camera.center, 2).tolist()} and looks along "
    found += (
        f"{np.round(camera.T_world_camera[:3, 2], 2).tolist()}, the body is at {np.round(joints.mean(0), 2).tolist()}"
    )
    raise UserError(f"{where}: {found}: give cameras of the motion's world, in metres, or --camera orbit")


def from_opengl(camera: Camera) -> Camera:
    """A camera whose pose was written in OpenGL's axes (y up, z backward), in ours; and the other way round."""
    T = camera.T_world_camera.copy()
    T[:3, 1:3] *= -1
    return Camera(camera.name, camera.K, T, camera.height, camera.width)


def _sees(cameras: Sequence[Camera], poses: Sequence[Pose]) -> bool:
    """Whether a camera has a joint of its frame in its picture."""
    for camera, pose in zip(cameras, poses, strict=True):
        pixels, depth = camera.project(pose.joints)
        inside = (pixels > -0.5).all(axis=1) & (pixels < [camera.width - 0.5, camera.height - 0.5]).all(axis=1)
        if (inside & (depth > 0)).any():
            return True
    return False
