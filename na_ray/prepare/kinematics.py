"""Small corrections of a tracked pose: of the body as a whole, and of each joint.

Symbols: A_j = `joints_RT[j]`, r_j joint j at rest, p_j = A_j r_j, D_j what a correction does to all that hangs on
joint j: D_j = D_parent o (turn by d_j about p_j), A_j' = D_j A_j. Turns are axis-angle, rad, in normalized axes; the
whole body is turned about its joints' mean c in world axes, and moved: x' = turn (x - c) + c + move.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from scipy.spatial.transform import Rotation

from na_ray.body.kinematics import displacements
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import Skeleton


@dataclass(frozen=True, eq=False)
class Correction:
    """How a pose is moved; zeros leave it as it is."""

    move: Float64[np.ndarray, "3"]
    """m, in world axes."""
    turn: Float64[np.ndarray, "3"]
    """Axis-angle of the whole body, rad."""
    joints: Float64[np.ndarray, "j 3"]
    """Axis-angle of each joint, rad; roots stay zero, since `turn` turns the body."""

    @classmethod
    def none(cls, num_joints: int) -> "Correction":
        """The one that leaves everything as it is."""
        return cls(np.zeros(3), np.zeros(3), np.zeros((num_joints, 3)))

    @property
    def vector(self) -> Float64[np.ndarray, "n"]:
        """All numbers: move, turn, joints."""
        return np.concatenate([self.move, self.turn, self.joints.ravel()])

    @classmethod
    def from_vector(cls, vector: Float64[np.ndarray, "n"]) -> "Correction":
        """From `vector`."""
        return cls(vector[:3], vector[3:6], vector[6:].reshape(-1, 3))


def matrices(turns: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3 3"]:
    """Rotation matrices of axis-angles."""
    return Rotation.from_rotvec(turns).as_matrix()


def corrected(pose: Pose, correction: Correction, skeleton: Skeleton) -> Pose:
    """The pose, moved."""
    A = pose.joints_RT.astype(np.float64)
    D = _displacements(A, correction.joints, skeleton)
    # Joint j is where its own displacement takes it: its turn is about itself.
    rest = np.concatenate([skeleton.rest, np.ones((len(A), 1))], axis=1)
    stored = pose.rotation.astype(np.float64)
    translation = pose.translation.astype(np.float64)
    drift = np.einsum("jab,jb->ja", D @ A - A, rest)[:, :3] @ stored
    center = pose.joints.astype(np.float64).mean(0)
    turn = matrices(correction.turn)
    joints = (pose.joints + drift - center) @ turn.T + center + correction.move
    return replace(
        pose,
        joints_RT=(D @ A).astype(np.float32),
        rotation=(stored @ turn.T).astype(np.float32),
        translation=((translation - center) @ turn.T + center + correction.move).astype(np.float32),
        joints=joints.astype(np.float32),
        pose=None if pose.pose is None else _turned(pose.pose, A, correction.joints, skeleton),
    )


def _displacements(
    A: Float64[np.ndarray, "j 4 4"], turns: Float64[np.ndarray, "j 3"], skeleton: Skeleton
) -> Float64[np.ndarray, "j 4 4"]:
    """D_j of every joint."""
    rest, numbers = torch.from_numpy(skeleton.rest), torch.from_numpy(np.ascontiguousarray(turns))
    return displacements(torch.from_numpy(A), rest, torch.tensor(skeleton.parents), numbers).numpy()


def _turned(
    pose: np.ndarray, A: Float64[np.ndarray, "j 4 4"], turns: Float64[np.ndarray, "j 3"], skeleton: Skeleton
) -> np.ndarray:
    """The axis-angles relative to the parents, after the joints were turned."""
    parents = np.array(skeleton.parents)
    R = np.where((parents >= 0)[:, None, None], A[parents, :3, :3], np.eye(3))
    local = np.swapaxes(R, 1, 2) @ matrices(turns) @ R @ matrices(pose.reshape(-1, 3).astype(np.float64))
    moved = Rotation.from_matrix(local).as_rotvec()
    # As the file has it where nothing was turned: an axis-angle has more than one form.
    return (
        np.where(np.any(turns != 0, axis=1, keepdims=True), moved, pose.reshape(-1, 3)).reshape(-1).astype(np.float32)
    )


def below(skeleton: Skeleton) -> Bool[np.ndarray, "j j"]:
    """[j, k]: whether joint k hangs on joint j, or is it."""
    count = len(skeleton.parents)
    found = np.eye(count, dtype=bool)
    for k in range(count):
        j = skeleton.parents[k]
        while j >= 0:
            found[j, k] = True
            j = skeleton.parents[j]
    return found


@dataclass(frozen=True, eq=False)
class MovedPoints:
    """Some vertices of a posed body, and what moves them."""

    world: Float64[np.ndarray, "n 3"]
    """Where they are, m."""
    center: Float64[np.ndarray, "3"]
    """What the whole body turns about."""
    arms: Float64[np.ndarray, "n j 3"]
    """From each joint to the vertex, in normalized axes, by the share of the vertex that hangs on it; roots: zero."""
    rotation: Float64[np.ndarray, "3 3"]
    """Of the pose, as stored."""

    def slopes(self, rows: Float64[np.ndarray, "n m 3"]) -> Float64[np.ndarray, "n m p"]:
        """Derivatives of row . x by `Correction.vector` at zero, for m rows a vertex. As row . (d x a) = d . (a x row),
        no matrix of three dimensions is made."""
        turn = _cross((self.world - self.center)[:, None], rows)
        joints = _cross(self.arms[:, None], (rows @ self.rotation.T)[:, :, None])
        return np.concatenate([rows, turn, joints.reshape(*rows.shape[:2], -1)], axis=2)


def points_of(rig: Rig, pose: Pose, skeleton: Skeleton, chosen: Int[np.ndarray, "n"]) -> MovedPoints:
    """Some vertices (indices) of the body at a pose."""
    A, stored = pose.joints_RT.astype(np.float64), pose.rotation.astype(np.float64)
    vertices, weights = rig.vertices[chosen].astype(np.float64), rig.weights[chosen].astype(np.float64)
    parts = (vertices @ A[:, :3, :3].transpose(0, 2, 1) + A[:, None, :3, 3]).transpose(1, 0, 2) * weights[..., None]
    hanging = below(skeleton).astype(np.float64)
    places = np.einsum("jab,jb->ja", A[:, :3, :3], skeleton.rest) + A[:, :3, 3]
    arms = hanging @ parts - (weights @ hanging.T)[..., None] * places
    arms[:, [j for j, parent in enumerate(skeleton.parents) if parent < 0]] = 0
    world = parts.sum(1) @ stored + pose.translation
    return MovedPoints(world, pose.joints.astype(np.float64).mean(0), arms, stored)


def _cross(a: Float64[np.ndarray, "*n 3"], b: Float64[np.ndarray, "*m 3"]) -> Float64[np.ndarray, "*k 3"]:
    """a x b; numpy's own takes three times as long."""
    (x, y, z), (u, v, w) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)
