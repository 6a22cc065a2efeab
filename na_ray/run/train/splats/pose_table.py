"""Poses that may be learned: those of joints that turn, each on its parent."""

from collections.abc import Sequence

import numpy as np

from na_ray.capture.dataset import Split
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import SOME_POSES, Skeleton, skeleton_of
from na_ray.config.values import UserError
from na_ray.models.splats.poses import PoseTable

RIGID = 1e-2
"""Most that an entry of R R^T may differ from the identity's."""
LOOSE = 0.01
"""Most that a joint may lie off its place on its parent, m."""


def pose_table(split: Split, frames: Sequence[int]) -> PoseTable:
    """No corrections yet, of frames (positions) of a split. Raises UserError, one line, where some of its poses are
    those of no tree of joints."""
    skeleton = skeleton_of(split)
    some = np.unique(np.linspace(0, len(frames) - 1, min(SOME_POSES, len(frames))).round().astype(int))
    chosen = [frames[i] for i in some]
    check_tree([split.pose(i) for i in chosen], [split.frames[i] for i in chosen], split.files.folder, skeleton)
    return PoseTable([split.frames[i] for i in frames], skeleton.parents, skeleton.rest)


def check_tree(poses: Sequence[Pose], numbers: Sequence[int], folder: str, skeleton: Skeleton) -> None:
    """Raises UserError where poses, of frames of these numbers, are not those of joints that turn, each on its
    parent."""
    remedy = "leave the poses as they are (splats.refine_poses false)"
    for pose, number in zip(poses, numbers, strict=True):
        where = f"{folder}, frame {number}: splats.refine_poses wants joints that turn, each on its parent"
        A = pose.joints_RT.astype(np.float64)
        turns = np.concatenate([A[:, :3, :3], pose.rotation.astype(np.float64)[None]])
        skew = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
        if skew.max() > RIGID:
            name = (*skeleton.names, "the body's rotation")[int(skew.argmax())]
            raise UserError(f"{where}, but {name} is scaled or sheared (by {skew.max():.2g}): {remedy}")
        above = np.array(skeleton.parents)
        places = np.einsum("jab,jb->ja", A[:, :3, :3], skeleton.rest) + A[:, :3, 3]
        hung = np.einsum("jab,jb->ja", A[above, :3, :3], skeleton.rest) + A[above, :3, 3]
        apart = np.where(above < 0, 0.0, np.linalg.norm(hung - places, axis=1))
        if apart.max() > LOOSE:
            name = skeleton.names[int(apart.argmax())]
            raise UserError(f"{where}, but {name} is {100 * apart.max():.1f} cm off its place on it: {remedy}")
