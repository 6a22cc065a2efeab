"""A motion that another program's format carries comes back: 0.1 degree in every joint, 1 mm in every place."""

from pathlib import Path

import numpy as np
import pytest
from motion_writers import write_amass, write_bvh, write_easymocap, write_smplh
from scipy.spatial.transform import Rotation
from stick_actor import NAMES, PARENTS, StickActor, kinematics, stick_actor

from na_ray.motion.sources import Reading, open_motion

DEGREES, METRES = 0.1, 1e-3


def worst(actor: StickActor, opened, joints=range(24)) -> tuple[float, float]:
    """(degrees, metres) by which the poses differ from the actor's own motion, by the test's own kinematics."""
    assert opened.poses.num_frames == len(actor.rotvecs)
    angle = distance = 0.0
    for i, (turns, place) in enumerate(zip(actor.rotvecs, actor.places, strict=True)):
        Q, places = kinematics(actor.rest, turns, place)
        pose = opened.poses.pose(i)
        found = pose.rotation.T.astype(np.float64) @ pose.joints_RT[:, :3, :3]
        for j in joints:
            angle = max(angle, np.degrees(Rotation.from_matrix(Q[j].T @ found[j]).magnitude()))
        distance = max(distance, np.linalg.norm(pose.joints[list(joints)] - places[list(joints)], axis=1).max())
        # What skinning sees: the joint at rest, moved by its transform.
        moved = np.einsum("jab,jb->ja", pose.joints_RT[:, :3, :3], actor.rest) + pose.joints_RT[:, :3, 3]
        np.testing.assert_allclose(moved @ pose.rotation + pose.translation, pose.joints, atol=1e-5)
    return angle, distance


@pytest.fixture(scope="module")
def actor() -> StickActor:
    return stick_actor()


@pytest.mark.parametrize("unit", [1.0, 0.01, 0.0254])
def test_bvh(actor: StickActor, tmp_path: Path, unit: float) -> None:
    path = write_bvh(tmp_path / "m.bvh", NAMES, PARENTS, actor.rest, actor.rotvecs, actor.places, unit=unit)
    opened = open_motion(str(path), actor.trained, actor.rig)
    angle, distance = worst(actor, opened)
    assert angle < DEGREES and distance < METRES, (angle, distance)


@pytest.mark.parametrize("arms", [0, 45])
def test_bvh_of_a_body_whose_arms_hang(tmp_path: Path, arms: float) -> None:
    actor = stick_actor(arms)
    path = write_bvh(tmp_path / "m.bvh", NAMES, PARENTS, actor.rest, actor.rotvecs, actor.places)
    angle, distance = worst(actor, open_motion(str(path), actor.trained, actor.rig))
    assert angle < DEGREES and distance < METRES, (angle, distance)


@pytest.mark.parametrize(("z_up", "width", "rate"), [(True, 156, "mocap_framerate"), (False, 165, "mocap_frame_rate")])
def test_amass(actor: StickActor, tmp_path: Path, z_up: bool, width: int, rate: str) -> None:
    path = write_amass(tmp_path / "m.npz", actor.rest, actor.rotvecs, actor.places, 25.0, z_up, width, rate)
    angle, distance = worst(actor, open_motion(str(path), actor.trained, actor.rig))
    assert angle < DEGREES and distance < METRES, (angle, distance)


@pytest.mark.parametrize("options", [{}, {"wrapped": True}, {"in_pose": True}, {"width": 78}, {"width": 87}])
def test_easymocap(actor: StickActor, tmp_path: Path, options: dict) -> None:
    folder = write_easymocap(tmp_path / "out", actor.rest, actor.rotvecs, actor.places, **options)
    for place in (folder, folder / "smpl"):
        angle, distance = worst(actor, open_motion(str(place), actor.trained, actor.rig))
        assert angle < DEGREES and distance < METRES, (angle, distance)


def test_easymocap_of_an_actor_that_rests_in_an_a_pose(tmp_path: Path) -> None:
    actor = stick_actor(45)
    folder = write_easymocap(tmp_path / "out", actor.rest, actor.rotvecs, actor.places)
    opened = open_motion(str(folder), actor.trained, actor.rig, Reading(rest="actor"))
    angle, distance = worst(actor, opened)
    assert angle < DEGREES and distance < METRES, (angle, distance)
    assert any("rotations of zero are the actor's rest" in line for line in opened.lines)
    # SMPL's zero is a T pose: the elbows then are elsewhere than this file, whose zero is the A pose, has them.
    auto = open_motion(str(folder), actor.trained, actor.rig)
    assert worst(actor, auto, joints=[18])[0] > 30


def test_smplh_json(actor: StickActor, tmp_path: Path) -> None:
    path = write_smplh(tmp_path / "m.json", actor.rest, actor.rotvecs, actor.places)
    angle, distance = worst(actor, open_motion(str(path), actor.trained, actor.rig))
    assert angle < DEGREES and distance < METRES, (angle, distance)
