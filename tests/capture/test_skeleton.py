"""The joints of a capture: named, SMPL's, or found from the poses."""

import json
from pathlib import Path

import numpy as np
import pytest
from make_capture import write_tiny_capture
from stick_actor import NAMES, PARENTS, stick_actor

from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import find_skeleton, skeleton_of
from na_ray.motion.posed import make_pose


def poses(order: list[int] | None = None) -> tuple[np.ndarray, list[Pose]]:
    """Rest joints and poses of an actor, its joints in another order."""
    actor = stick_actor(30)
    order = order or list(range(24))
    found = []
    for turns, place in zip(actor.rotvecs, actor.places, strict=True):
        turns = turns + 0.05  # hands, too
        pose = make_pose(actor.trained.skeleton, turns, place)
        found.append(Pose(pose.joints_RT[order], pose.rotation, pose.translation, pose.joints[order]))
    return actor.rest[order], found


def test_rest_joints_and_smpl_s_names_are_found() -> None:
    rest, found = poses()
    skeleton = find_skeleton(found, "m")
    np.testing.assert_allclose(skeleton.rest, rest, atol=1e-5)
    assert skeleton.names == tuple(NAMES) and skeleton.parents == tuple(PARENTS)


def test_parents_are_found_whatever_the_order() -> None:
    order = [0, *np.random.default_rng(1).permutation(np.arange(1, 24)).tolist()]
    rest, found = poses(order)
    skeleton = find_skeleton(found, "m")
    np.testing.assert_allclose(skeleton.rest, rest, atol=1e-5)
    assert skeleton.names[3] == "joint_3"
    assert [order[p] if p >= 0 else -1 for p in skeleton.parents] == [PARENTS[j] for j in order]
    assert [j for j in skeleton.order if skeleton.parents[j] < 0] == [skeleton.order[0]]


def test_capture_json_says(tmp_path: Path) -> None:
    folder = write_tiny_capture(tmp_path / "capture", frames=3, cameras=1, resolution=(8, 8))
    split = Capture.open(folder).split("training")
    assert skeleton_of(split).names[4] == "joint_4"
    joints = [{"name": "hips", "parent": None}]
    joints += [{"name": f"tail{i}", "parent": parent} for i, parent in enumerate(["hips", "tail0", 2, "tail2"])]
    (folder / "capture.json").write_text(json.dumps({"joints": joints}))
    skeleton = skeleton_of(split)
    assert skeleton.names == ("hips", "tail0", "tail1", "tail2", "tail3") and skeleton.parents == (-1, 0, 1, 2, 3)
    for wrong, line in (
        ("all", r"capture\.json: joints is no list of joints"),
        (joints[:3], r"capture\.json names 3 joints, but the poses in .* have 5"),
        ([*joints[:4], {"name": "tail3", "parent": "nose"}], r"tail3 hangs on 'nose', which is none"),
        ([{"name": "hips", "parent": "tail0"}, *joints[1:]], r"the parents form a ring"),
    ):
        (folder / "capture.json").write_text(json.dumps({"joints": wrong}))
        with pytest.raises(ValueError, match=line) as error:
            skeleton_of(split)
        assert len(str(error.value).splitlines()) == 1
