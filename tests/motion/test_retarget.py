"""Motions of other bodies: rests, units, axes, ground and names, beside closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest
from motion_writers import write_amass, write_bvh
from scipy.spatial.transform import Rotation
from stick_actor import NAMES, PARENTS, StickActor, kinematics, rest_of, stick_actor

from na_ray.motion.retarget import Placing
from na_ray.motion.sources import Reading, open_motion
from na_ray.motion.trained_poses import ground_of, lowest_points

REAL = Path(__file__).parents[1] / "data" / "motions"
LIMBS = {"left_shoulder": 16, "left_elbow": 18, "right_shoulder": 17, "right_elbow": 19}
HANGING = -np.array([0.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def actor() -> StickActor:
    return stick_actor(45)


def opened(actor: StickActor, path: Path, **options):
    return open_motion(str(path), actor.trained, actor.rig, Reading(**options))


def bone(pose, a: str, b: str) -> np.ndarray:
    way = pose.joints[NAMES.index(b)] - pose.joints[NAMES.index(a)]
    return way / np.linalg.norm(way)


def still(rest: np.ndarray, **turns: tuple) -> tuple[np.ndarray, np.ndarray]:
    """(rotvecs, places) of four frames: `turns` in degrees."""
    rotvecs = np.zeros((4, 24, 3))
    for name, turn in turns.items():
        rotvecs[:, NAMES.index(name)] = np.radians(turn)
    return rotvecs, np.tile(rest[0], (4, 1))


def test_a_t_pose_is_a_t_pose_whatever_the_rests(actor: StickActor, tmp_path: Path) -> None:
    """The file's arms hang straight down at rest, the actor's by 45 degrees."""
    rest = rest_of(90)
    rotvecs, places = still(rest, left_shoulder=(0, 0, 90), right_shoulder=(0, 0, -90))
    path = write_bvh(tmp_path / "m.bvh", NAMES, PARENTS, rest, rotvecs, places, orders=("ZXY",))
    pose = opened(actor, path).poses.pose(0)
    for side, sign in (("left", 1), ("right", -1)):
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist")):
            # Bones of the file are not quite straight (1 cm off): as far from the axis as those.
            np.testing.assert_allclose(bone(pose, f"{side}_{a}", f"{side}_{b}"), [sign, 0, 0], atol=0.06)
        np.testing.assert_allclose(bone(pose, f"{side}_hip", f"{side}_knee"), [0, -1, 0], atol=0.08)


def test_a_bent_arm_bends_alike_on_other_bones(actor: StickActor, tmp_path: Path) -> None:
    rest = rest_of(0) * 1.3
    rotvecs, places = still(rest, left_elbow=(0, -90, 0), left_knee=(60, 0, 0), head=(0, 40, 0))
    path = write_amass(tmp_path / "m.npz", rest, rotvecs, places, z_up=False)
    # A T pose of SMPL's: the left forearm is bent forward, the left shin backward, the head turned to the left.
    pose = opened(actor, path).poses.pose(0)
    np.testing.assert_allclose(bone(pose, "left_elbow", "left_wrist"), [0, 0, 1], atol=0.06)
    shin = bone(pose, "left_knee", "left_ankle")
    # SMPL's own shins point 6 degrees backward at rest.
    np.testing.assert_allclose(shin, [0, -np.cos(np.radians(66)), -np.sin(np.radians(66))], atol=0.05)
    head = pose.rotation.T @ pose.joints_RT[15, :3, :3]
    np.testing.assert_allclose(head, Rotation.from_rotvec(np.radians([0, 40, 0])).as_matrix(), atol=1e-5)


@pytest.mark.parametrize(("up", "turn"), [("y", (0, 0, 0)), ("z", (90, 0, 0)), ("-y", (180, 0, 0)), ("x", (0, 0, -90))])
def test_the_up_axis_is_found_and_said(actor: StickActor, tmp_path: Path, up: str, turn: tuple) -> None:
    rest = rest_of(0)
    world = Rotation.from_rotvec(np.radians(turn))
    rotvecs = np.zeros((6, 24, 3))
    rotvecs[:, 0] = world.as_rotvec()
    places = world.apply(np.stack([[0.1 * i, rest[0, 1], 0] for i in range(6)]))
    path = write_bvh(tmp_path / "m.bvh", NAMES, PARENTS, rest, rotvecs, places, orders=("XYZ",))
    found = opened(actor, path)
    assert f"up is {up}, as the body stands" in "\n".join(found.lines)
    for i in range(6):
        pose = found.poses.pose(i)
        np.testing.assert_allclose(bone(pose, "pelvis", "head") @ [0, 1, 0], 1, atol=0.01)
    # It goes where it faced: to its own left.
    left = pose.joints[1] - pose.joints[2]
    way = pose.joints[0] - found.poses.pose(0).joints[0]
    np.testing.assert_allclose(way, left / np.linalg.norm(left) * 0.5, atol=2e-3)
    told = opened(actor, path, placing=Placing(up=up))
    np.testing.assert_allclose(told.poses.pose(2).joints, found.poses.pose(2).joints, atol=1e-6)


def test_feet_that_are_spread_with_the_legs_are_flat_where_they_stand(actor: StickActor, tmp_path: Path) -> None:
    """The legs are spread by 20 degrees at rest, and the soles with them; it stands with its legs together."""
    rest = rest_of(45)
    rest[1:3, 0] = rest[7:9, 0] = rest[4:6, 0] = (0.1, -0.1)
    rest[10:12, 0] = rest[7:9, 0]
    spread = rest.copy()
    for hip, chain, sign in ((1, (4, 7, 10), 1), (2, (5, 8, 11), -1)):
        turn = Rotation.from_rotvec([0, 0, sign * np.radians(20)])
        spread[list(chain)] = rest[hip] + turn.apply(rest[list(chain)] - rest[hip])
    rotvecs, places = still(spread, left_hip=(0, 0, -20), right_hip=(0, 0, 20))
    path = write_bvh(tmp_path / "m.bvh", NAMES, PARENTS, spread, rotvecs, places)
    pose = opened(actor, path).poses.pose(0)
    for ankle in (7, 8):
        up = (pose.rotation.T @ pose.joints_RT[ankle, :3, :3])[:, 1]
        assert np.degrees(np.arccos(up[1])) < 0.2
    # The other kind: flat at rest, and turned back by the ankles when it stands.
    flat, places = still(
        spread, left_hip=(0, 0, -20), right_hip=(0, 0, 20), left_ankle=(0, 0, 20), right_ankle=(0, 0, -20)
    )
    path = write_bvh(tmp_path / "flat.bvh", NAMES, PARENTS, spread, flat, places)
    pose = opened(actor, path).poses.pose(0)
    for ankle in (7, 8):
        up = (pose.rotation.T @ pose.joints_RT[ankle, :3, :3])[:, 1]
        assert np.degrees(np.arccos(up[1])) < 0.2


@pytest.mark.parametrize("name", ["cmu_12_01_walk.bvh", "y_up_chest.bvh"])
def test_real_files_stand_on_the_ground_upright(actor: StickActor, name: str) -> None:
    motion = opened(actor, REAL / name)
    poses = [motion.poses.pose(i) for i in range(motion.poses.num_frames)]
    heights = lowest_points(actor.rig, actor.trained.skeleton, poses, actor.trained.up)
    assert ground_of(heights) == pytest.approx(actor.trained.ground, abs=2e-3)
    assert np.std(heights) < 0.03, "a foot is on the ground in nearly every frame"
    for pose in poses:
        assert bone(pose, "pelvis", "head")[1] > 0.85
        for side in ("left", "right"):
            # Knees bend backwards alone: the ankle is never before the line of the thigh.
            thigh, shin = bone(pose, f"{side}_hip", f"{side}_knee"), bone(pose, f"{side}_knee", f"{side}_ankle")
            pelvis_left = pose.joints[1] - pose.joints[2]
            assert np.cross(thigh, shin) @ pelvis_left / np.linalg.norm(pelvis_left) > -0.15
    assert any("22 of the actor's 24 are driven" in line for line in motion.lines)
    assert any("not driven, they follow their parents: left_hand, right_hand" in line for line in motion.lines)


def test_real_files_say_units_rates_and_unused_joints(actor: StickActor) -> None:
    lines = "\n".join(opened(actor, REAL / "cmu_12_01_walk.bvh").lines)
    assert "243 frames at 120 a second became 51 at 25" in lines
    assert "the leg of 13.93 is the actor's of 0.801 m" in lines and "up is y" in lines
    assert "drive nothing: LHipJoint, RHipJoint, Neck1" in lines
    lines = "\n".join(opened(actor, REAL / "y_up_chest.bvh").lines)
    assert "like centimetres" in lines and "drive nothing: Chest2" in lines


def test_four_joints_need_a_unit_and_are_named(actor: StickActor) -> None:
    with pytest.raises(ValueError, match=r"rotation_first_root\.bvh: its unit cannot be measured") as error:
        opened(actor, REAL / "rotation_first_root.bvh")
    assert len(str(error.value).splitlines()) == 1
    assert (
        "Hips is pelvis" in str(error.value)
        and "LeftLeg is left_hip" in str(error.value)
        and "--unit" in str(error.value)
    )
    motion = opened(actor, REAL / "rotation_first_root.bvh", placing=Placing(unit=0.01))
    assert "4 of the actor's 24 are driven: pelvis by Hips" in "\n".join(motion.lines)
    way = motion.poses.pose(3).joints[0] - motion.poses.pose(0).joints[0]
    np.testing.assert_allclose(way[[0, 2]], [0.03, 0.03], atol=3e-3)
    # The spine's joints below the one that is driven share its bend.
    pose = motion.poses.pose(3)
    A = pose.joints_RT[:, :3, :3]
    angles = [Rotation.from_matrix(A[a].T @ A[b]).magnitude() for a, b in ((0, 3), (3, 6), (6, 9))]
    assert angles[0] > 0.01 and np.ptp(angles) < 1e-4


def test_a_map_of_joints_names_what_names_do_not(actor: StickActor, tmp_path: Path) -> None:
    strange = [f"bone{j}" for j in range(24)]
    path = write_bvh(tmp_path / "m.bvh", strange, PARENTS, actor.rest, actor.rotvecs, actor.places)
    with pytest.raises(ValueError, match=r"m\.bvh: none of its joints \(bone0, bone1.*--joints map\.json") as error:
        opened(actor, path)
    assert len(str(error.value).splitlines()) == 1
    pairs = dict(zip(strange, NAMES, strict=True))
    motion = opened(actor, path, placing=Placing(joints=pairs))
    expected = kinematics(actor.rest, actor.rotvecs[5], actor.places[5])[1]
    np.testing.assert_allclose(motion.poses.pose(5).joints, expected, atol=1e-3)
    for wrong, line in (
        ({"bone99": "head"}, "the motion has no joint 'bone99'"),
        ({"bone1": "tail"}, "the actor has no"),
    ):
        with pytest.raises(ValueError, match=line):
            opened(actor, path, placing=Placing(joints=wrong))


def test_what_cannot_be_told_is_one_line(actor: StickActor, tmp_path: Path) -> None:
    rotvecs, places = still(actor.rest)
    rotvecs[:, 0] = np.radians([45, 0, 0])
    path = write_bvh(tmp_path / "lying.bvh", NAMES, PARENTS, actor.rest, rotvecs, places)
    with pytest.raises(ValueError, match=r"lying\.bvh: the body does not stand along an axis .*--up y"):
        opened(actor, path)
    assert opened(actor, path, placing=Placing(up="y")).poses.num_frames == 4
    with pytest.raises(ValueError, match=r"lying\.bvh: no axis 'w': expected x, y, z, -x, -y or -z"):
        opened(actor, path, placing=Placing(up="w"))
    for name in ("nothing", "nothing.bvh", "nothing.npz"):
        with pytest.raises(FileNotFoundError, match=name):
            opened(actor, tmp_path / name)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(ValueError, match=r"photos: no motion \(it holds a\.png\); expected a capture's split"):
        opened(actor, tmp_path / "photos")
    (tmp_path / "map.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="its keys are none"):
        opened(actor, tmp_path / "map.json")
