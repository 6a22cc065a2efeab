"""Corrections of poses: what their derivatives say, what the body does, and what its files keep."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import Skeleton, find_skeleton
from na_ray.prepare.kinematics import Correction, corrected, points_of
from na_ray.synthetic.actor import SyntheticActor


@pytest.fixture(scope="module")
def actor() -> tuple[Rig, list[Pose], Skeleton]:
    made = SyntheticActor(3)
    poses = [made.pose(frame) for frame in made.clip("testing", 5)]
    return made.rig(), poses, find_skeleton(poses, "here")


def world(rig: Rig, pose: Pose) -> np.ndarray:
    """Linear blend skinning, vertex by vertex, in float64."""
    found = np.zeros_like(rig.vertices, dtype=np.float64)
    for j, A in enumerate(pose.joints_RT.astype(np.float64)):
        found += rig.weights[:, [j]] * (rig.vertices @ A[:3, :3].T + A[:3, 3])
    return found @ pose.rotation.astype(np.float64) + pose.translation


def random(count: int, scale: float, skeleton: Skeleton, seed: int = 0) -> Correction:
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(count, 3)) * scale
    joints[[j for j, p in enumerate(skeleton.parents) if p < 0]] = 0
    return Correction(rng.normal(size=3) * scale, rng.normal(size=3) * scale, joints)


def test_the_derivatives_are_those_of_small_corrections(actor: tuple[Rig, list[Pose], Skeleton]) -> None:
    rig, poses, skeleton = actor
    chosen = np.arange(0, len(rig.vertices), 37)
    points = points_of(rig, poses[2], skeleton, chosen)
    places, J = points.world, points.slopes(np.tile(np.eye(3), (len(chosen), 1, 1)))
    assert np.abs(places - world(rig, poses[2])[chosen]).max() < 1e-6
    step = random(len(skeleton.parents), 2e-3, skeleton)
    moved = world(rig, corrected(poses[2], step, skeleton))[chosen] - places
    assert np.abs(moved - J @ step.vector).max() < 0.03 * np.abs(moved).max()


def test_no_correction_changes_nothing_and_a_rigid_one_is_rigid(actor: tuple[Rig, list[Pose], Skeleton]) -> None:
    rig, poses, skeleton = actor
    none = Correction.none(len(skeleton.parents))
    same = corrected(poses[1], none, skeleton)
    assert np.abs(world(rig, same) - world(rig, poses[1])).max() < 1e-6
    assert np.array_equal(same.pose, poses[1].pose)
    turn, move = np.array([0.1, -0.2, 0.05]), np.array([0.02, 0.01, -0.03])
    found = corrected(poses[1], Correction(move, turn, none.joints), skeleton)
    center = poses[1].joints.astype(np.float64).mean(0)
    R = Rotation.from_rotvec(turn)
    assert np.abs(world(rig, found) - (R.apply(world(rig, poses[1]) - center) + center + move)).max() < 1e-5
    assert np.abs(found.joints - (R.apply(poses[1].joints - center) + center + move)).max() < 1e-5


def test_a_corrected_pose_is_one_of_the_same_skeleton(actor: tuple[Rig, list[Pose], Skeleton]) -> None:
    _, poses, skeleton = actor
    count = len(skeleton.parents)
    moved = [corrected(pose, random(count, 0.1, skeleton, i), skeleton) for i, pose in enumerate(poses)]
    assert np.abs(find_skeleton(moved, "there").rest - skeleton.rest).max() < 1e-4
    for pose, new in zip(poses, moved, strict=True):
        for j, parent in enumerate(skeleton.parents):
            if parent < 0:
                continue
            local = [p.joints_RT[parent, :3, :3].T @ p.joints_RT[j, :3, :3] for p in (pose, new)]
            said = [Rotation.from_rotvec(p.pose.reshape(-1, 3)[j]).as_matrix() for p in (pose, new)]
            # What the file says of a joint changes as the joint does.
            assert np.abs(said[1] @ said[0].T - local[1] @ local[0].T).max() < 1e-4
