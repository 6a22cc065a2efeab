"""Motions of an actor: rotations of its joints and places of its root, made into poses frame by frame.

Symbols: A_j = `joints_RT[j]`, r_j joint j at rest, Q_j the joint's rotation in the world, p_j its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.dataset import Split
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import Skeleton
from na_ray.capture.storage import version
from na_ray.pictures import png


@runtime_checkable
class PoseSource(Protocol):
    """A motion, pose by pose: nothing of it need be in memory."""

    @property
    def num_frames(self) -> int:
        """Frames."""

    @property
    def fps(self) -> float:
        """Frames a second."""

    @property
    def identity(self) -> str:
        """What decides the poses, in short."""

    def pose(self, index: int) -> Pose:
        """The body at a frame."""


@dataclass(frozen=True, eq=False)
class SplitMotion:
    """Frames of a capture's split as they are."""

    split: Split
    frames: Sequence[int]
    """Positions in the split."""
    fps: float

    @property
    def num_frames(self) -> int:
        """Frames."""
        return len(self.frames)

    @property
    def identity(self) -> str:
        """The split's files, as far as a look at two of them tells."""
        files = self.split.files.transforms
        ends = [files.folder] if files.archive else [files.path(self.split.frames[i]) for i in (0, -1)]
        return png.digest(*(str(version(path)) for path in ends), str(self.split.num_frames))

    def pose(self, index: int) -> Pose:
        """The body at a frame."""
        return self.split.pose(self.frames[index])


@dataclass(frozen=True, eq=False)
class JointMotion:
    """A motion as numbers of the actor's own skeleton."""

    skeleton: Skeleton
    rotvecs: Float[np.ndarray, "n j 3"]
    """Axis-angle of each joint relative to its parent, radians; the root's is relative to the world."""
    places: Float64[np.ndarray, "n 3"]
    """The root joint in the world, m."""
    fps: float

    @property
    def num_frames(self) -> int:
        """Frames."""
        return len(self.rotvecs)

    @property
    def identity(self) -> str:
        """Its numbers."""
        return png.digest(self.skeleton.rest, self.rotvecs, self.places)

    def pose(self, index: int) -> Pose:
        """The body at a frame."""
        return make_pose(self.skeleton, self.rotvecs[index], self.places[index])


def make_pose(skeleton: Skeleton, rotvecs: Float[np.ndarray, "j 3"], place: Float[np.ndarray, "3"]) -> Pose:
    """A pose as the published layout has it: A_0 = I, the root's rotation in `rotation`, world = v @ rotation + t."""
    local = Rotation.from_rotvec(np.asarray(rotvecs, np.float64)).as_matrix()
    A = np.tile(np.eye(4), (len(local), 1, 1))
    rest, root = skeleton.rest, skeleton.parents.index(-1)
    for j in skeleton.order:
        parent = skeleton.parents[j]
        if parent < 0:
            A[j, :3, :3] = np.eye(3) if j == root else local[root].T @ local[j]
        else:
            A[j, :3, :3] = A[parent, :3, :3] @ local[j]
            A[j, :3, 3] = A[parent, :3, :3] @ rest[j] + A[parent, :3, 3] - A[j, :3, :3] @ rest[j]
    rotation = local[root].T
    translation = place - rest[root] @ rotation
    posed = np.einsum("jab,jb->ja", A[:, :3, :3], rest) + A[:, :3, 3]
    numbers = np.array(rotvecs, np.float64)
    numbers[root] = 0
    f32 = np.float32
    return Pose(
        A.astype(f32),
        rotation.astype(f32),
        translation.astype(f32),
        (posed @ rotation + translation).astype(f32),
        numbers.reshape(-1).astype(f32),
    )


def local_rotations(pose: Pose, parents: Sequence[int]) -> Float64[np.ndarray, "j 3 3"]:
    """Rotation of each joint relative to its parent; the root's relative to the world."""
    A = pose.joints_RT[:, :3, :3].astype(np.float64)
    local = np.empty_like(A)
    for j, parent in enumerate(parents):
        local[j] = pose.rotation.astype(np.float64).T @ A[j] if parent < 0 else A[parent].T @ A[j]
    return local
