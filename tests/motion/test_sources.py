"""A capture's motion under every name that it goes by, and motions of other bodies."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from make_capture import write_tiny_capture
from stick_actor import StickActor, stick_actor

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.rig import Pose
from na_ray.motion.posed import make_pose
from na_ray.motion.sources import Reading, open_motion
from na_ray.motion.trained_poses import TrainedPoses


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("sources") / "capture", frames=6, cameras=1, resolution=(8, 8))


@pytest.fixture(scope="module")
def trained(capture: Path) -> TrainedPoses:
    split = Capture.open(capture).split("training")
    return TrainedPoses.of(split, range(6), split.rig)


def same(pose: Pose, split: Split, position: int) -> bool:
    other = split.pose(position)
    return all(np.array_equal(a, b) for a, b in zip(vars(pose).values(), vars(other).values(), strict=True))


def test_a_split_is_itself_under_every_name(capture: Path, trained: TrainedPoses, tmp_path: Path) -> None:
    split = Capture.open(capture).split("testing")
    loose, packed = tmp_path / "loose", tmp_path / "packed.zip"
    loose.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        for i in range(6):
            (loose / f"{i:06d}.json").write_bytes(split.read_transform(i))
            archive.writestr(f"transform/{i:06d}.json", split.read_transform(i))
    (loose / "transform_tpose.json").write_text("{}")
    folder = tmp_path / "with_folder"
    (folder / "transform").mkdir(parents=True)
    shutil.copytree(loose, folder / "transform", dirs_exist_ok=True)
    for name in (capture / "testing", f"{capture}:testing", loose, packed, folder):
        motion = open_motion(str(name), trained, split.rig)
        assert motion.poses.num_frames == 6 and not motion.lines
        assert all(same(motion.poses.pose(i), split, i) for i in range(6)), name
        assert motion.split is not None and motion.split.has_textures == (Path(name).name.endswith("testing"))


def test_a_capture_alone_is_asked_for_a_split(capture: Path, trained: TrainedPoses) -> None:
    rig = Capture.open(capture).rig
    with pytest.raises(ValueError, match=r"a capture has several motions: name one, as .*/testing"):
        open_motion(str(capture), trained, rig)
    with pytest.raises(ValueError, match=r"no split 'walking'; it has: testing, training"):
        open_motion(f"{capture}:walking", trained, rig)


def test_a_split_at_another_rate_is_brought_to_it(capture: Path, trained: TrainedPoses) -> None:
    split = Capture.open(capture).split("testing")
    motion = open_motion(str(capture / "testing"), trained, split.rig, Reading(fps=20.0, motion_fps=10.0))
    assert (
        motion.poses.num_frames == 11
        and motion.split is None
        and "6 frames at 10 a second became 11" in motion.lines[0]
    )
    for i in range(6):
        np.testing.assert_allclose(
            motion.poses.pose(2 * i).joints_RT[:, :3, :3], split.pose(i).joints_RT[:, :3, :3], atol=1e-5
        )
        np.testing.assert_allclose(motion.poses.pose(2 * i).rotation, split.pose(i).rotation, atol=1e-6)


def write_motion(folder: Path, actor: StickActor) -> Path:
    """An actor's own motion as transforms."""
    folder.mkdir()
    for i, (turns, place) in enumerate(zip(actor.rotvecs, actor.places, strict=True)):
        pose = make_pose(actor.trained.skeleton, turns, place)
        values = {k: v.tolist() for k, v in vars(pose).items()} | {
            "joints_RT": pose.joints_RT.transpose(1, 2, 0).tolist()
        }
        (folder / f"{i:06d}.json").write_text(json.dumps(values))
    return folder


def test_a_motion_of_another_body_is_brought_to_the_actor_s_bones(tmp_path: Path) -> None:
    small, large = stick_actor(45), stick_actor(45, rest=stick_actor(45).rest * 1.2)
    path = write_motion(tmp_path / "m", large)
    motion = open_motion(str(path), small.trained, small.rig)
    assert "a motion of another body" in motion.lines[0]
    for i in (0, 7):
        pose, expected = motion.poses.pose(i), make_pose(small.trained.skeleton, small.rotvecs[i], small.places[i])
        np.testing.assert_allclose(pose.joints_RT, expected.joints_RT, atol=2e-3)
        np.testing.assert_allclose(pose.rotation, expected.rotation, atol=1e-3)
    own = open_motion(str(path), large.trained, large.rig)
    assert not own.lines and own.split is not None


def test_a_motion_of_a_body_with_other_joints_is_one_line(capture: Path, trained: TrainedPoses, tmp_path: Path) -> None:
    actor = stick_actor()
    path = write_motion(tmp_path / "m", actor)
    with pytest.raises(
        ValueError, match=r"m: its poses have 24 joints, but the actor's body has 5: .*another body"
    ) as e:
        open_motion(str(path), trained, Capture.open(capture).rig)
    assert len(str(e.value).splitlines()) == 1


def test_a_damaged_frame_is_one_line(capture: Path, trained: TrainedPoses, tmp_path: Path) -> None:
    split = Capture.open(capture).split("testing")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "000000.json").write_bytes(split.read_transform(0))
    (folder / "000001.json").write_bytes(split.read_transform(1)[:100])
    motion_rig = split.rig
    with pytest.raises(ValueError, match=r"000001\.json: unreadable JSON") as error:
        open_motion(str(folder), trained, motion_rig).poses.pose(1)
    assert len(str(error.value).splitlines()) == 1
