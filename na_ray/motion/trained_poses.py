"""The poses that an actor was trained on: where its ground is, and how far from them a pose is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.about import NAME, read_about
from na_ray.capture.dataset import Split
from na_ray.capture.framing import AROUND
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import Skeleton, skeleton_of
from na_ray.capture.storage import join
from na_ray.config.values import UserError
from na_ray.formats.joint_names import parts_of
from na_ray.motion.posed import local_rotations

MOST_HEIGHTS = 128
"""Poses that the ground is found from, evenly spaced."""

SHELL = 0.06
"""What an avatar may add to the body, m: hair, folds."""

STANDING = 5.0
"""Percentile of the lowest points of the poses that is the ground: a stumble below it does not move it."""


@dataclass(frozen=True, eq=False)
class TrainedPoses:
    """An actor's skeleton, and the poses that it was trained on."""

    skeleton: Skeleton
    quaternions: Float32[np.ndarray, "m j 4"]
    """Rotations of the joints relative to their parents, x y z w; the root's relative to the world."""
    up: Float64[np.ndarray, "3"]
    """To the sky, in the world."""
    ground: float
    """Height of the ground along `up`, m: where the lowest soles are."""
    around: float = AROUND
    """How far the body reaches round its joints, m."""

    @classmethod
    def of(cls, split: Split, frames: Sequence[int], rig: Rig) -> "TrainedPoses":
        """Of a split's frames (positions)."""
        return cls.of_poses([split.pose(f) for f in frames], skeleton_of(split), rig, said_up(split))

    @classmethod
    def of_poses(
        cls, poses: Sequence[Pose], skeleton: Skeleton, rig: Rig, up: Float[np.ndarray, "3"] | None
    ) -> "TrainedPoses":
        """Of poses of a skeleton; `up`: to the sky, None: as the body stands."""
        local = np.stack([local_rotations(pose, skeleton.parents) for pose in poses])
        quaternions = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(*local.shape[:2], 4)
        top = measured_up(poses, skeleton) if up is None else np.asarray(up, np.float64)
        some = np.unique(np.linspace(0, len(poses) - 1, MOST_HEIGHTS).round().astype(int))
        ground = ground_of(lowest_points(rig, skeleton, [poses[int(i)] for i in some], top))
        return cls(skeleton, quaternions.astype(np.float32), top, ground, _reach(rig, skeleton))

    def distance(self, pose: Pose) -> tuple[float, int]:
        """(mean angle in degrees over the joints but the roots to the nearest training pose, which one that is)."""
        angles = self._angles(pose).mean(axis=1)
        nearest = int(angles.argmin())
        return float(np.degrees(angles[nearest])), nearest

    def _angles(self, pose: Pose) -> Float[np.ndarray, "m k"]:
        """Geodesic angles to every training pose, radians: 2 acos |q . q'|."""
        inner = [j for j, parent in enumerate(self.skeleton.parents) if parent >= 0]
        local = local_rotations(pose, self.skeleton.parents)[inner]
        own = Rotation.from_matrix(local).as_quat()
        cosines = np.abs(np.einsum("mkq,kq->mk", self.quaternions[:, inner], own))
        return 2 * np.arccos(np.clip(cosines, 0, 1))

    def pulled(self, pose: Pose, most: float) -> Float64[np.ndarray, "j 3"]:
        """Axis-angles of the joints of a pose, those of a pose farther than `most` degrees turned towards the nearest
        training pose, all by the same share, until it is as far as that. Roots stay."""
        local = Rotation.from_matrix(local_rotations(pose, self.skeleton.parents))
        distance, nearest = self.distance(pose)
        if distance <= most:
            return local.as_rotvec()
        back = local.inv() * Rotation.from_quat(self.quaternions[nearest])
        share = np.where(np.array(self.skeleton.parents) < 0, 0.0, 1 - most / distance)
        return (local * Rotation.from_rotvec(back.as_rotvec() * share[:, None])).as_rotvec()


def _reach(rig: Rig, skeleton: Skeleton) -> float:
    """How far from their nearest joint vertices are at rest, m, and what an avatar may add to them."""
    apart = np.linalg.norm(rig.vertices[:, None].astype(np.float64) - skeleton.rest, axis=2).min(axis=1)
    return float(apart.max()) + SHELL


def said_up(split: Split) -> Float64[np.ndarray, "3"] | None:
    """The sky's direction as `capture.json` has it; None where it says nothing."""
    value = read_about(split.files.root).get("up")
    if value is None:
        return None
    expected = "expected three numbers such as [0, 1, 0]: mend it, or leave it out"
    try:
        up = np.array(value, np.float64)
    except (TypeError, ValueError):
        up = np.zeros(0)
    if up.shape != (3,) or not np.isfinite(up).all() or not np.linalg.norm(up):
        raise UserError(f"{join(split.files.root, NAME)}: up is {value!r}; {expected}")
    return up / np.linalg.norm(up)


def measured_up(poses: Sequence[Pose], skeleton: Skeleton) -> Float64[np.ndarray, "3"]:
    """The axis nearest to the mean direction from the feet (or the hips, or the first joint) to the head."""
    parts = parts_of(skeleton.names)
    low = [parts[p] for side in ("left", "right") if (p := f"{side}_ankle") in parts] or [0]
    high = parts.get("head", parts.get("neck", len(skeleton.names) - 1))
    ways = np.stack([pose.joints[high] - pose.joints[low].mean(axis=0) for pose in poses]).astype(np.float64)
    way = ways.sum(axis=0)
    axis = int(np.abs(way).argmax())
    return np.sign(way[axis]) * np.eye(3)[axis]


def lowest_points(
    rig: Rig, skeleton: Skeleton, poses: Sequence[Pose], up: Float[np.ndarray, "3"]
) -> Float64[np.ndarray, "n"]:
    """Height along `up` of each pose's lowest point, m: of the feet where the joints tell them, else of the body."""
    parts = parts_of(skeleton.names)
    feet = [parts[f"{s}_{p}"] for s in ("left", "right") for p in ("ankle", "foot") if f"{s}_{p}" in parts]
    chosen = np.flatnonzero(rig.weights[:, feet].sum(axis=1) > 0.5) if feet else np.zeros(0, int)
    chosen = chosen if len(chosen) else np.arange(len(rig.vertices))
    points = np.concatenate([rig.vertices[chosen], np.ones((len(chosen), 1))], axis=1).astype(np.float64)
    weighted = np.einsum("vj,vc->vjc", rig.weights[chosen].astype(np.float64), points).reshape(len(chosen), -1)
    heights = np.empty(len(poses))
    for i, pose in enumerate(poses):
        # x = sum_j w_j A_j v, seen along `up` alone: one product for all vertices.
        turned = pose.rotation.astype(np.float64) @ up
        rows = np.einsum("a,jac->jc", turned, pose.joints_RT[:, :3].astype(np.float64)).reshape(-1)
        heights[i] = (weighted @ rows).min() + pose.translation.astype(np.float64) @ up
    return heights


def ground_of(heights: Float[np.ndarray, "n"]) -> float:
    """Height of the ground, of the lowest points of a motion's poses, m."""
    return float(np.percentile(heights, STANDING))
