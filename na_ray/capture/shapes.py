"""A body in another shape: the shape directions that a capture's `body_shapes.npz` holds (`na-ray convert` keeps those
of SMPL's models), and poses carried over to bones of other lengths.

Symbols: V vertices, J joints, S coefficients; A_j = `joints_RT[j]`, r_j joint j at rest, R_j the rotation in A_j.
"""

import dataclasses
import io
import zipfile
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import Skeleton
from na_ray.capture.storage import read_bytes
from na_ray.config.values import UserError

FILE = "body_shapes.npz"
"""Beside the body's own files."""
MOST = 10.0
"""Largest change of a coefficient: SMPL's are standard deviations of the people it was learned from."""


@dataclass(frozen=True, eq=False)
class BodyShapes:
    """What changes a body's shape."""

    vertices: Float32[np.ndarray, "v 3 s"]
    """Metres that each coefficient moves the vertices at rest, a unit of it."""
    joints: Float32[np.ndarray, "j 3 s"]
    """The same of the joints at rest."""

    @classmethod
    def read(cls, path: str, rig: Rig) -> "BodyShapes":
        """Read a `body_shapes.npz`. Raises UserError, one line, for one that is damaged or of another body."""
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
                found = cls(arrays["shapedirs"].astype(np.float32), arrays["jointdirs"].astype(np.float32))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is no file of shape directions ({error}): convert the body again") from None
        count = found.vertices.shape[-1]
        expected = (len(rig.vertices), 3, count), (rig.num_joints, 3, count)
        if (found.vertices.shape, found.joints.shape) != expected:
            shapes = f"{found.vertices.shape} and {found.joints.shape}"
            raise UserError(f"{path} holds {shapes} numbers; expected {expected[0]} and {expected[1]}, as the body")
        return found

    def change(self, text: str) -> Float64[np.ndarray, "s"]:
        """Changes of the coefficients, the first ones first, as `1.5,0,-2`. Raises UserError where it is none."""
        expected = f"expected up to {self.vertices.shape[2]} numbers from {-MOST:g} to {MOST:g}, as --shape=1.5,0,-2"
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise UserError(f"--shape is {text!r}; {expected}") from None
        if len(numbers) > self.vertices.shape[2] or not all(abs(n) <= MOST for n in numbers):
            raise UserError(f"--shape is {text!r}; {expected}")
        return np.array(numbers + [0.0] * (self.vertices.shape[2] - len(numbers)))

    def skeleton(self, skeleton: Skeleton, change: Float64[np.ndarray, "s"]) -> Skeleton:
        """The joints at rest in the other shape."""
        return dataclasses.replace(skeleton, rest=skeleton.rest + self.joints @ change)

    def rig(self, rig: Rig, skeleton: Skeleton, change: Float64[np.ndarray, "s"]) -> Rig:
        """The body in the other shape; its T pose turns the joints as before."""
        moved = self.skeleton(skeleton, change)
        return dataclasses.replace(
            rig,
            vertices=(rig.vertices + self.vertices @ change).astype(np.float32),
            tpose=carried(rig.tpose, skeleton, moved).astype(np.float32),
        )


def carried(transforms: Float[np.ndarray, "j 4 4"], old: Skeleton, new: Skeleton) -> Float64[np.ndarray, "j 4 4"]:
    """The same rotations for bones of other lengths: r_j goes where its parent takes it, and turns by R_j there."""
    A = transforms.astype(np.float64)
    found = A.copy()
    for j in old.order:
        R, parent = A[j, :3, :3], old.parents[j]
        if parent < 0:
            place = R @ old.rest[j] + A[j, :3, 3] + new.rest[j] - old.rest[j]
        else:
            place = found[parent, :3, :3] @ new.rest[j] + found[parent, :3, 3]
        found[j, :3, 3] = place - R @ new.rest[j]
    return found


def carried_pose(pose: Pose, old: Skeleton, new: Skeleton) -> Pose:
    """A pose of one skeleton for another of other lengths: the root stays where it is in the world."""
    A = carried(pose.joints_RT, old, new)
    root = old.parents.index(-1)
    before, after = (
        pose_A[root, :3, :3] @ skeleton.rest[root] + pose_A[root, :3, 3]
        for pose_A, skeleton in ((pose.joints_RT.astype(np.float64), old), (A, new))
    )
    translation = pose.translation + (before - after) @ pose.rotation.astype(np.float64)
    placed = np.einsum("jab,jb->ja", A[:, :3, :3], new.rest) + A[:, :3, 3]
    joints = placed @ pose.rotation.astype(np.float64) + translation
    f32 = np.float32
    return Pose(A.astype(f32), pose.rotation, translation.astype(f32), joints.astype(f32), pose.pose)
