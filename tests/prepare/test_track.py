"""A track that was put off comes back; a good one is left alone; what is written is a capture of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from make_capture import write_picture

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import Skeleton, skeleton_of
from na_ray.prepare.kinematics import Correction, corrected
from na_ray.prepare.photographs import Photographs
from na_ray.prepare.repair import TrackScene, mean_iou
from na_ray.prepare.track import write_track, write_transforms
from na_ray.synthetic.actor import SyntheticActor
from na_ray.synthetic.scene import film, ring
from na_ray.synthetic.shading import Studio
from na_ray.synthetic.write import write_capture


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A synthetic actor with the silhouettes of its renderer."""
    root, frames, cameras, resolution = tmp_path_factory.mktemp("track") / "true", 2, 4, 128
    write_capture(root, frames=frames, test_frames=1, cameras=cameras, resolution=resolution, texture_size=32, seed=5)
    actor = SyntheticActor(5)
    clips = {"training": actor.clip("training", frames), "testing": actor.clip("testing", 1)}
    outline = np.concatenate([actor.outline(frame) for clip in clips.values() for frame in clip])
    studio = Studio(actor.wardrobe, actor.style)
    for i, frame in enumerate(clips["training"]):
        stage = studio.light(actor.dressed(frame))
        for k, camera in enumerate(ring(cameras, resolution, outline, 5)):
            alpha = film(studio, stage, camera)[..., 3]
            write_picture(
                root / "masks" / "training" / f"{k:03d}" / f"{i:06d}.png", (alpha > 127).astype(np.uint8) * 255
            )
    return Capture.open(root)


def put_off(pose: Pose, skeleton: Skeleton, seed: int) -> Pose:
    """By 2 cm and 3 degrees, and each joint by 2 degrees."""
    rng = np.random.default_rng(seed)
    move, turn = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    joints = rng.normal(size=(len(skeleton.parents), 3))
    joints *= np.radians(2) / np.linalg.norm(joints, axis=1, keepdims=True)
    joints[[j for j, parent in enumerate(skeleton.parents) if parent < 0]] = 0
    return corrected(pose, Correction(0.02 * move, np.radians(3) * turn, joints), skeleton)


def distance(body: Body, one: Pose, two: Pose) -> float:
    """Mean distance of the vertices, m."""
    return float((body.pose(one).world_vertices - body.pose(two).world_vertices).norm(dim=1).mean())


def test_a_track_that_was_put_off_comes_back(true: Capture, tmp_path: Path) -> None:
    split = true.split("training")
    skeleton, body = skeleton_of(split), Body.from_rig(split.rig)
    poses = [split.pose(i) for i in range(split.num_frames)]
    off = [put_off(pose, skeleton, i) for i, pose in enumerate(poses)]
    shutil.copytree(true.path, tmp_path / "off")
    write_transforms(tmp_path / "off" / "training" / "transform.zip", split, off)
    broken = Capture.open(tmp_path / "off")
    assert distance(body, broken.split("training").pose(0), off[0]) < 1e-5
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "off").rglob("*") if p.is_file()}
    lines = write_track(broken, tmp_path / "mended", "all", ["training"], colors=False)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "off").rglob("*") if p.is_file()} == before
    mended = Capture.open(tmp_path / "mended")
    found = mended.split("training")
    scene = TrackScene(split.rig, body, skeleton, split.cameras)
    for frame in Photographs.of(true, split, range(4)).frames(range(split.num_frames)):
        i = frame.position
        was, now = distance(body, off[i], poses[i]), distance(body, found.pose(i), poses[i])
        assert was > 0.015 and now < 0.4 * was, (was, now)
        assert mean_iou(scene, found.pose(i), frame.masks) > mean_iou(scene, off[i], frame.masks) + 0.05
        assert np.abs(skeleton_of(found).rest - skeleton.rest).max() < 1e-4
    assert not found.has_textures and not found.has_normal_maps, "they are of the old poses"
    assert np.array_equal(found.image(1, 2), split.image(1, 2))
    values = json.loads(found.read_transform(1))
    assert np.allclose(values["motion"], [found.pose(max(1 - back, 0)).joints for back in (2, 1, 0)], atol=1e-6)
    said = json.loads((tmp_path / "mended" / "capture.json").read_text())
    assert said["track"]["cameras"] == [0, 1, 2, 3] and "textures" not in said
    assert "overlap of body and silhouettes (IoU)" in lines[1] and "it has no maps yet" in lines[0]


def test_a_good_track_stays_where_it_is(true: Capture, tmp_path: Path) -> None:
    write_track(true, tmp_path / "new", "0,1,2,3", ["training"], colors=True)
    split, found = true.split("training"), Capture.open(tmp_path / "new").split("training")
    body = Body.from_rig(split.rig)
    assert max(distance(body, split.pose(i), found.pose(i)) for i in range(split.num_frames)) < 0.012
    with pytest.raises(FileExistsError, match="new is there: name another folder, or remove it"):
        write_track(true, tmp_path / "new", "all", ["training"])


def test_what_cannot_be_repaired_says_why(true: Capture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"testing: no silhouettes to repair the track by; expected masks/testing/CCC"):
        write_track(true, tmp_path / "new", "all", ["testing"])
    with pytest.raises(ValueError, match="is the capture, or lies in it"):
        write_track(true, Path(true.path) / "new")
    assert not (tmp_path / "new").exists()
