"""An actor's body in another shape, and motions carried over to it."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64

from na_ray.capture.rig import Pose, Rig
from na_ray.capture.shapes import BodyShapes, carried_pose
from na_ray.capture.skeleton import Skeleton
from na_ray.motion.posed import PoseSource
from na_ray.motion.trained_poses import lowest_points
from na_ray.pictures import png


@dataclass(frozen=True, eq=False)
class Reshaping:
    """What `--shape` makes of a body."""

    shapes: BodyShapes
    change: Float64[np.ndarray, "s"]
    """Added to the person's own shape coefficients."""
    old_rig: Rig
    old_skeleton: Skeleton
    up: Float[np.ndarray, "3"]
    """To the sky, in the world."""

    @cached_property
    def rig(self) -> Rig:
        """The body in its new shape."""
        return self.shapes.rig(self.old_rig, self.old_skeleton, self.change)

    @cached_property
    def skeleton(self) -> Skeleton:
        """Its joints at rest."""
        return self.shapes.skeleton(self.old_skeleton, self.change)

    def pose(self, pose: Pose) -> Pose:
        """A pose of the old body for the new one: the same rotations, and the lowest point at the same height."""
        level = carried_pose(pose, self.old_skeleton, self.skeleton)
        before = lowest_points(self.old_rig, self.old_skeleton, [pose], self.up)[0]
        after = lowest_points(self.rig, self.skeleton, [level], self.up)[0]
        rise = ((before - after) * self.up).astype(np.float32)
        return replace(level, translation=level.translation + rise, joints=level.joints + rise)


@dataclass(frozen=True, eq=False)
class ReshapedMotion:
    """A motion of the old body, for the new one."""

    source: PoseSource
    reshaping: Reshaping

    @property
    def num_frames(self) -> int:
        """Frames."""
        return self.source.num_frames

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.source.fps

    @property
    def identity(self) -> str:
        """That of the motion, and the shape."""
        return png.digest(self.source.identity, self.reshaping.change)

    def pose(self, index: int) -> Pose:
        """The body at a frame."""
        return self.reshaping.pose(self.source.pose(index))
