"""Joints turned by hand on top of a motion: a joint turns about its place and takes its children along.

Symbols: A_j = `joints_RT[j]`, r_j joint j at rest, D_j its turn. W_j moves what hangs on j in normalized space.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from na_ray.actor import Actor
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import Skeleton, find_skeleton

LIMIT = 180
"""Degrees that a slider turns a joint about an axis, in each direction."""


def skeleton_of_actor(actor: Actor) -> Skeleton:
    """The actor's joints: named where `actor.json` names them, parents inferred from the training poses otherwise."""
    named = actor.values.get("joints")
    if named is None:
        return find_skeleton(actor.poses(), str(actor.folder))
    names = tuple(joint["name"] for joint in named)
    known = {None: -1, -1: -1, **{i: i for i in range(len(names))}, **{name: i for i, name in enumerate(names)}}
    parents = tuple(known[joint.get("parent")] for joint in named)
    return find_skeleton(actor.poses(), str(actor.folder), (names, parents))


def turned(pose: Pose, skeleton: Skeleton, turns: Mapping[int, Float[np.ndarray, "3"]]) -> Pose:
    """The pose with joints turned, each about the axes of the rest pose: A_j' = W_parent A_j T(r_j) D_j T(-r_j).

    `turns`: axis-angle in degrees by joint.
    """
    if not any(np.any(turn) for turn in turns.values()):
        return pose
    A = pose.joints_RT.astype(np.float64)
    moved, W = A.copy(), np.tile(np.eye(4), (len(A), 1, 1))
    for j in skeleton.order:
        parent = skeleton.parents[j]
        W[j] = W[parent] if parent >= 0 else W[j]
        if j in turns:
            D = np.eye(4)
            D[:3, :3] = Rotation.from_rotvec(np.radians(turns[j])).as_matrix()
            D[:3, 3] = skeleton.rest[j] - D[:3, :3] @ skeleton.rest[j]
            W[j] = W[j] @ A[j] @ D @ np.linalg.inv(A[j])
        moved[j] = W[j] @ A[j]
    placed = np.einsum("jab,jb->ja", moved[:, :3, :3], skeleton.rest) + moved[:, :3, 3]
    joints = placed @ pose.rotation.astype(np.float64) + pose.translation
    return replace(pose, joints_RT=moved.astype(np.float32), joints=joints.astype(np.float32), pose=None)
