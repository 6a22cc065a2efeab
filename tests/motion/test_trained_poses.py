"""Distances from the training poses, beside a naive double loop; poses that are pulled nearer."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from stick_actor import StickActor, dance, stick_actor

from na_ray.motion.posed import make_pose


@pytest.fixture(scope="module")
def actor() -> StickActor:
    return stick_actor(30)


def naive(actor: StickActor, turns: np.ndarray) -> tuple[float, int]:
    found = []
    for known in actor.rotvecs:
        angles = [
            (Rotation.from_rotvec(known[j]).inv() * Rotation.from_rotvec(turns[j])).magnitude() for j in range(1, 24)
        ]
        found.append(np.degrees(np.mean(angles)))
    return min(found), int(np.argmin(found))


def test_the_distance_is_the_mean_angle_to_the_nearest_pose(actor: StickActor) -> None:
    for turns in dance(seed=5)[0][::4]:
        distance, nearest = actor.trained.distance(make_pose(actor.trained.skeleton, turns, np.zeros(3)))
        assert (distance, nearest) == (pytest.approx(naive(actor, turns)[0], abs=0.05), naive(actor, turns)[1])
        assert distance > 5


def test_a_training_pose_is_near_wherever_it_stands_and_faces(actor: StickActor) -> None:
    turns = actor.rotvecs[3].copy()
    turns[0] = (0.3, 2.0, -1.0)
    assert actor.trained.distance(make_pose(actor.trained.skeleton, turns, np.ones(3)))[0] < 0.05
    one = actor.rotvecs[3].copy()
    one[18] = (Rotation.from_rotvec(one[18]) * Rotation.from_rotvec([0, 0, np.radians(23)])).as_rotvec()
    distance, nearest = actor.trained.distance(make_pose(actor.trained.skeleton, one, np.ones(3)))
    assert distance == pytest.approx(1.0, abs=0.05) and nearest == 3


def test_a_far_pose_is_pulled_as_near_as_it_is_told(actor: StickActor) -> None:
    skeleton = actor.trained.skeleton
    for turns in dance(seed=5)[0][::4]:
        pose = make_pose(skeleton, turns, np.zeros(3))
        pulled = actor.trained.pulled(pose, 4.0)
        distance, _ = actor.trained.distance(make_pose(skeleton, pulled, np.zeros(3)))
        assert distance == pytest.approx(4.0, abs=0.1)
        np.testing.assert_allclose(pulled[0], turns[0], atol=1e-6)
        far = actor.trained.pulled(pose, 90.0)
        np.testing.assert_allclose(
            Rotation.from_rotvec(far).as_matrix(), Rotation.from_rotvec(turns).as_matrix(), atol=1e-5
        )
