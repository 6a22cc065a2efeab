"""A folder that an independent writer made as EasyMocap does, converted: cameras, poses and body come back."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from convert.easymocap_writer import calibration_texts, person, write_easymocap, write_keypoints, write_track
from convert.scene import make_scene, model_arrays

from na_ray.capture.about import read_about
from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.capture.keypoints import Keypoints
from na_ray.capture.pixels import posed_vertices
from na_ray.capture.shapes import FILE as SHAPES
from na_ray.capture.shapes import BodyShapes
from na_ray.cli.main import run
from na_ray.config.values import UserError
from na_ray.convert.plan import ConvertOptions, plan
from na_ray.convert.source import easymocap_source
from na_ray.convert.write import summary, write
from na_ray.formats.body25 import read_keypoints

ORDER = ["01", "2", "10", "cam_a"]


@pytest.fixture(scope="module")
def scene():
    return make_scene(frames=5)


@pytest.fixture(scope="module")
def sequence(scene, tmp_path_factory):
    root = tmp_path_factory.mktemp("easymocap")
    np.savez(root / "SMPL_NEUTRAL.npz", **model_arrays(scene))
    write_keypoints(root / "seq", [scene.skinned(i)[1] for i in range(scene.count)])
    lost = root / "seq" / "keypoints3d" / "000002.json"
    lost.write_text(lost.read_text().replace("0.9", "0.1"))
    return write_easymocap(root / "seq", scene), root / "SMPL_NEUTRAL.npz"


@pytest.fixture(scope="module")
def converted(sequence, tmp_path_factory):
    root, body = sequence
    made = plan(easymocap_source(str(root)), ConvertOptions(body=str(body)))
    out = tmp_path_factory.mktemp("captures") / "anna"
    write(made, str(out), workers=1)
    return made, out


def eyes(scene):
    return [next(eye for eye in scene.eyes if eye.name == name) for name in ORDER]


def test_keypoints_that_are_sure_are_kept_by_name(scene, converted):
    _, out = converted
    kept, split = Keypoints.find(str(out)), Capture.open(out).split("training")
    order = {"left_shoulder": 16, "right_shoulder": 17, "left_elbow": 18, "right_elbow": 19, "left_wrist": 20}
    order |= {"right_wrist": 21, "left_hip": 1, "right_hip": 2, "left_knee": 4, "right_knee": 5, "left_ankle": 7}
    order |= {"right_ankle": 8}
    points = kept.splits["training"]
    assert points.shape == (5, 12, 3) and np.isnan(points[2]).all() and np.isfinite(points[[0, 1, 3, 4]]).all()
    for k, name in enumerate(kept.names):
        assert np.abs(points[0, k] - split.pose(0).joints[order[name]]).max() < 1e-5, name
    with pytest.raises(UserError, match="keypoints3d is \\(3, 4\\); expected 15 rows or more"):
        read_keypoints(str(written(out.parent / "bad", [{"id": 0, "keypoints3d": [[0, 0, 0, 1]] * 3}])))
    (out.parent / "cut").mkdir()
    (out.parent / "cut" / "keypoints.npz").write_bytes((out / "keypoints.npz").read_bytes()[:300])
    with pytest.raises(UserError, match="no file of keypoints"):
        Keypoints.find(str(out.parent / "cut"))


def test_nobody_s_keypoints_are_unknown(tmp_path):
    found = read_keypoints(str(written(tmp_path / "none", [{"id": 0, "keypoints3d": []}])))
    assert found[0]["0"].shape == (12, 4) and np.isnan(found[0]["0"]).all()


def test_keypoints_counted_from_one_belong_to_poses_counted_from_zero(sequence, tmp_path):
    shutil.copytree(sequence[0], tmp_path / "seq")
    expected = easymocap_source(str(tmp_path / "seq"))
    assert not [line for line in expected.lines if "keypoints3d" in line]
    for file in sorted((tmp_path / "seq" / "keypoints3d").iterdir(), reverse=True):
        file.rename(file.with_name(f"{int(file.stem) + 1:06d}.json"))
    found = easymocap_source(str(tmp_path / "seq"))
    assert {n: people["0"].tolist() for n, people in found.keypoints.items()} == {
        n: people["0"].tolist() for n, people in expected.keypoints.items()
    }
    assert [line for line in found.lines if "keypoints3d are numbered 1 to 5, poses 0 to 4" in line]
    (tmp_path / "seq" / "keypoints3d" / "000005.json").unlink()  # as many as there are, they are a frame's or another's
    assert 0 not in easymocap_source(str(tmp_path / "seq")).keypoints


def written(folder, people):
    folder.mkdir()
    (folder / "000000.json").write_text(json.dumps(people))
    return folder


def test_cameras_come_back_in_natural_order(scene, converted):
    _, out = converted
    split = Capture.open(out).split("training")
    assert [camera["name"] for camera in read_about(str(out))["cameras"]] == ORDER
    points = np.random.default_rng(0).uniform([-0.8, 0, -0.8], [0.8, 1.8, 0.8], (200, 3))
    for camera, eye in zip(split.cameras, eyes(scene), strict=True):
        pixels, depth = camera.project(points)
        assert (depth > 0).all()
        assert np.abs(pixels - eye.pixels(points)).max() < 0.01
        assert (camera.width, camera.height) == (eye.width, eye.height)


def test_poses_come_back(scene, converted):
    _, out = converted
    split = Capture.open(out).split("training")
    assert split.num_frames == scene.count
    for i in range(scene.count):
        pose = split.pose(i)
        vertices, joints = scene.skinned(i)
        assert np.abs(posed_vertices(split.rig, pose) - vertices).max() < 1e-4
        assert np.abs(pose.joints - joints).max() < 1e-4
        assert np.abs(pose.pose - scene.poses[i]).max() < 1e-4
        assert np.abs(pose.joints_RT[0] - np.eye(4)).max() < 1e-6
        vertices_by_hand = split.rig.vertices @ pose.joints_RT[0, :3, :3].T  # A_0 = I: the root's turn is in `rotation`
        assert np.abs(vertices_by_hand - split.rig.vertices).max() < 1e-6


def test_motion_holds_the_last_three_frames(scene, converted):
    _, out = converted
    with zipfile.ZipFile(out / "training" / "transform.zip") as archive:
        frames = [json.loads(archive.read(f"{i:06d}.json")) for i in range(scene.count)]
    joints = [frame["joints"] for frame in frames]
    assert frames[0]["motion"] == [joints[0]] * 3
    assert frames[1]["motion"] == [joints[0], joints[0], joints[1]]
    assert frames[4]["motion"] == [joints[2], joints[3], joints[4]]


def test_the_body_is_the_shaped_template(scene, converted):
    _, out = converted
    capture = Capture.open(out)
    rig = capture.rig
    assert np.abs(rig.vertices - scene.vertices).max() < 1e-5
    assert np.abs(rig.weights - scene.weights).max() < 1e-6
    np.testing.assert_array_equal(rig.faces, scene.faces)
    assert BodyShapes.read(str(out / SHAPES), rig).joints.shape[:2] == (rig.num_joints, 3)
    left = rig.tpose[1, :3, :3]
    assert left[1, 0] == pytest.approx(np.sin(0.22), abs=1e-6)  # the left leg goes to +x
    with np.load(out / SHAPES) as held:
        arrays = model_arrays(scene)
        np.testing.assert_allclose(held["shapedirs"], arrays["shapedirs"], atol=1e-6)
        np.testing.assert_allclose(held["betas"], scene.betas, atol=1e-6)
        moved = arrays["J_regressor"] @ arrays["shapedirs"][..., 2]
        np.testing.assert_allclose(held["jointdirs"][..., 2], moved, atol=1e-6)


def test_pictures_are_those_of_a_pinhole_before_white(scene, converted):
    _, out = converted
    split = Capture.open(out).split("training")
    for c, eye in enumerate(eyes(scene)):
        for i, image in enumerate(split.images(c)):
            expected = scene.expected(eye, i)
            error = np.abs(image[3:-3, 3:-3].astype(float) - expected[3:-3, 3:-3])
            assert 10 * np.log10(255**2 / (error**2).mean()) > 34, (c, i)


def test_the_result_is_sound_but_for_the_maps(converted):
    made, out = converted
    defects = [line for line in examine(out, thorough=True).defects if "no texture maps" not in line]
    assert not defects
    assert not any("warning" in line for line in made.lines)
    assert any("13." in line and "posedirs" in line for line in made.lines)


def test_capture_json_says_where_everything_is_from(converted):
    _, out = converted
    text = (out / "capture.json").read_text()
    about = json.loads(text)
    assert about["unit"] == "metre" and about["up"] == [0, 1, 0] and about["source"]["program"] == "EasyMocap"
    assert about["joints"][4] == {"name": "left_knee", "parent": "left_hip"}
    assert {f["name"] for f in about["source"]["files"]} == {"intri.yml", "extri.yml", "SMPL_NEUTRAL.npz"}
    assert about["source"]["frames"] == {"training": "0..5"}
    assert str(out.parent) not in text and "/tmp" not in text


def files_of(folder: Path):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_folder_gives_the_same_bytes(sequence, converted, tmp_path):
    root, body = sequence
    write(plan(easymocap_source(str(root)), ConvertOptions(body=str(body))), str(tmp_path / "b"), workers=1)
    first, again = files_of(converted[1]), files_of(tmp_path / "b")
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []


def test_splits_by_frame_number(sequence, tmp_path):
    root, body = sequence
    made = plan(easymocap_source(str(root)), ConvertOptions(body=str(body), test_frames="1..3"))
    assert made.splits == {"training": (0, 3, 4), "testing": (1, 2)}
    assert "2 frames of testing" in "\n".join(summary(made, "x"))
    write(made, str(tmp_path / "anna"), workers=1)
    capture = Capture.open(tmp_path / "anna")
    assert capture.split("testing").num_frames == 2
    with zipfile.ZipFile(tmp_path / "anna" / "training" / "transform.zip") as archive:
        frame = json.loads(archive.read("000001.json"))
    assert frame["motion"] == [frame["joints"]] * 3  # frame 2 is another split's


def test_global_orient_in_poses_gives_the_same_vertices_and_a_hint(scene, sequence):
    """The root's turn in poses[:3]: about the root joint."""
    from scipy.spatial.transform import Rotation

    root, body = sequence
    source = easymocap_source(str(root))
    usual = plan(source, ConvertOptions(body=str(body)))
    J_0 = scene.rest[0]
    moved = {}
    for number, people in source.people.items():
        one = people["0"]
        turn = Rotation.from_rotvec(one.Rh)
        poses = np.concatenate([one.Rh, one.poses[3:]])
        moved[number] = {"0": type(one)(np.zeros(3), one.Th + turn.apply(J_0) - J_0, poses, one.shapes)}
    other = plan(type(source)(**{**vars(source), "people": moved}), ConvertOptions(body=str(body)))
    for number, pose in usual.poses.items():
        again = other.poses[number]
        for a, b in (
            (pose.rotation, again.rotation),
            (pose.translation, again.translation),
            (pose.joints, again.joints),
        ):
            assert np.abs(a - b).max() < 1e-5
    assert any("global_orient" in line for line in other.lines)


def test_videos_and_wrapped_people(scene, tmp_path):
    root = write_easymocap(tmp_path / "seq", scene, "mp4", masks=False, wrapped=True)
    np.savez(tmp_path / "b.npz", **model_arrays(scene))
    made = plan(easymocap_source(str(root)), ConvertOptions(body=str(tmp_path / "b.npz")))
    assert made.fps == 30
    assert any("no masks" in line for line in made.lines)
    assert made.matte is None


def test_frames_without_a_person_are_left_out(scene, sequence, tmp_path):
    root, body = sequence
    track = tmp_path / "track"
    write_track(track, scene)
    (track / "smpl" / "000002.json").write_text("[]")
    made = plan(easymocap_source(str(root), track=str(track)), ConvertOptions(body=str(body)))
    assert made.splits == {"training": (0, 1, 3, 4)}
    assert any("1 between (2)" in line for line in made.lines)


def test_one_of_two_people(scene, sequence, tmp_path):
    root, body = sequence
    track = tmp_path / "track" / "smpl"
    track.mkdir(parents=True)
    for i in range(scene.count):
        other = person(scene, i, who=7) | {"Th": [[9.0, 9, 9]]}
        (track / f"{i:06d}.json").write_text(json.dumps([other, person(scene, i, who=3)]))
    made = plan(easymocap_source(str(root), track=str(track)), ConvertOptions(body=str(body), person="3"))
    assert np.abs(made.poses[0].translation).max() < 3


def test_two_rotations_that_disagree_are_told(scene, sequence, tmp_path):
    inner, outer = calibration_texts(scene.eyes)
    turned = calibration_texts([type(e)(**{**vars(e), "R": e.R.T}) for e in scene.eyes[:1]])[1]
    at, end = (turned.index(f"{key}_2") for key in ("Rot", "T"))
    own = outer.index("Rot_2")
    broken = outer[:own] + turned[at:end] + outer[outer.index("T_2", own) :]
    (tmp_path / "intri.yml").write_text(inner)
    (tmp_path / "extri.yml").write_text(broken)
    source = easymocap_source(str(sequence[0]), cameras=str(tmp_path))
    assert any("R_2 and Rot_2 disagree" in line for line in source.lines)


@pytest.mark.parametrize(
    ("pictures", "people", "positions"),
    [
        ([1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),  # in their order, though both have a 1
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]),
        ([1, 2, 3, 4, 5], [2, 3], [1, 2]),
        ([0, 10, 20, 30, 40], [10, 30, 40], [1, 3, 4]),
    ],
)
def test_frames_belong_to_pictures_by_number_or_order(pictures, people, positions, scene, sequence, tmp_path):
    root, body = sequence
    shutil.copytree(root, tmp_path / "seq")
    for folder in (*(tmp_path / "seq" / "images").iterdir(), *(tmp_path / "seq" / "mask").iterdir()):
        files = sorted(folder.iterdir())
        for file, number in sorted(zip(files, pictures, strict=True), reverse=True):
            file.rename(folder / f"x{number:06d}{file.suffix}")
    shutil.rmtree(tmp_path / "seq" / "smpl")
    write_track(tmp_path / "seq", type(scene)(**{**vars(scene), "poses": scene.poses[: len(people)]}), numbers=people)
    source = easymocap_source(str(tmp_path / "seq"))
    assert [source.position(number) for number in people] == positions
    assert plan(source, ConvertOptions(body=str(body))).splits == {"training": tuple(people)}


def test_the_command_line(sequence, tmp_path, capsys):
    root, body = sequence
    words = ["easymocap", str(root), "-o", str(tmp_path / "anna"), "--body", str(body), "--test-frames", "4..5"]
    assert run("convert", [*words, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "would write" in told and "4 cameras (96x72 pixels), 4 frames of training, 1 frames of testing" in told
    assert not (tmp_path / "anna").exists()
    assert run("convert", [*words, "--person", "5"]) == 2
    assert "there is no person 5" in capsys.readouterr().err
    assert run("convert", ["cameras", str(root), "-o", str(tmp_path / "cameras")]) == 0
    assert "4 cameras, in this order: 01, 2, 10, cam_a" in capsys.readouterr().out
