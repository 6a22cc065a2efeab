"""A joint turned by hand turns about its place, takes its children along, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from na_ray.actor import Actor
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import Skeleton
from na_ray.viewer.joints import skeleton_of_actor, turned

#   0 - 1 - 3      a trunk that forks; the last joint stands before its parent in the list
#     \ 2 - 4
SKELETON = Skeleton(
    ("root", "hand", "left", "right", "arm"),
    (-1, 4, 0, 2, 0),
    np.array([[0, 1, 0], [0.9, 1.4, 0.1], [-0.3, 1.2, 0], [-0.8, 1.3, 0.2], [0.4, 1.3, 0]], np.float64),
)


def posed(turns: np.ndarray) -> Pose:
    """Forward kinematics on paper: each joint's transform is its parent's, then a turn about its place at rest."""
    A = np.tile(np.eye(4), (5, 1, 1))
    for j in (0, 4, 1, 2, 3):
        D = np.eye(4)
        D[:3, :3] = Rotation.from_rotvec(np.radians(turns[j])).as_matrix()
        there, back = np.eye(4), np.eye(4)
        there[:3, 3], back[:3, 3] = SKELETON.rest[j], -SKELETON.rest[j]
        parent = np.eye(4) if SKELETON.parents[j] < 0 else A[SKELETON.parents[j]]
        A[j] = parent @ there @ D @ back
    rotation = Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()
    translation = np.array([0.5, 0.1, -2.0])
    joints = np.stack([A[j, :3, :3] @ SKELETON.rest[j] + A[j, :3, 3] for j in range(5)]) @ rotation + translation
    f32 = np.float32
    return Pose(A.astype(f32), rotation.astype(f32), translation.astype(f32), joints.astype(f32))


def test_turns_of_several_joints_are_those_of_forward_kinematics() -> None:
    rng = np.random.default_rng(3)
    turns = rng.uniform(-90, 90, (5, 3))
    found = turned(posed(np.zeros((5, 3))), SKELETON, dict(enumerate(turns)))
    expected = posed(turns)
    assert np.allclose(found.joints_RT, expected.joints_RT, atol=1e-5)
    assert np.allclose(found.joints, expected.joints, atol=1e-5)


def test_a_turn_on_top_of_a_pose_moves_the_children_alone() -> None:
    before = posed(np.random.default_rng(4).uniform(-40, 40, (5, 3)))
    after = turned(before, SKELETON, {4: np.array([0.0, 0.0, 60.0]), 2: np.zeros(3)})
    moved = np.abs(after.joints_RT - before.joints_RT).max(axis=(1, 2)) > 1e-6
    assert moved.tolist() == [False, True, False, False, True]
    assert np.allclose(after.joints[[0, 2, 3, 4]], before.joints[[0, 2, 3, 4]], atol=1e-6), "an arm turns in its place"
    bone = [np.linalg.norm(p.joints[1] - p.joints[4]) for p in (before, after)]
    assert bone[0] == pytest.approx(bone[1], abs=1e-6)
    turn = after.joints_RT[4, :3, :3] @ before.joints_RT[4, :3, :3].T
    assert np.degrees(Rotation.from_matrix(turn).magnitude()) == pytest.approx(60, abs=1e-3)


def test_no_turn_is_the_pose_itself() -> None:
    pose = posed(np.zeros((5, 3)))
    assert turned(pose, SKELETON, {}) is pose and turned(pose, SKELETON, {3: np.zeros(3)}) is pose


def test_an_actors_joints_are_named_where_it_names_them(actor: Actor, actor_folder: Path) -> None:
    found = skeleton_of_actor(actor)
    assert found.parents.count(-1) == 1 and len(found.names) == actor.rig.num_joints
    n = len(found.names)
    named = [{"name": f"bone {j}", "parent": None if j == 0 else f"bone {j - 1}"} for j in range(n)]
    other = Actor(actor.folder, actor.networks)
    other.__dict__["values"] = actor.values | {"joints": named}
    said = skeleton_of_actor(other)
    assert said.names == tuple(f"bone {j}" for j in range(n)) and said.parents == tuple(range(-1, n - 1))
