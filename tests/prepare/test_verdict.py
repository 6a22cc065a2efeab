"""Broken conversions of one capture, as other programs' files are misread: the verdict names each for what it is."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_capture import write_picture, write_video
from PIL import Image
from scipy import ndimage
from scipy.spatial.transform import Rotation

from na_ray.body.body import Body
from na_ray.body.rasterize import cast
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture
from na_ray.capture.pixels import posed_vertices
from na_ray.capture.publish import write_cameras, write_rig, write_transforms
from na_ray.capture.trajectory import look_at
from na_ray.inspect import inspect
from na_ray.pictures.png import read_png, write_png
from na_ray.prepare.agreement import color_spread, iou, silhouette
from na_ray.prepare.evidence import before_background, gather, place
from na_ray.prepare.hypotheses import quarter_turn
from na_ray.prepare.verdict import judge
from na_ray.synthetic.actor import SyntheticActor
from na_ray.synthetic.scene import film, ring
from na_ray.synthetic.shading import Studio

ROOT = np.array([-0.002, -0.223, 0.028])
"""Where SMPL's pelvis lies at rest: not at the origin, so that it matters about which of them the body turns."""
Z_UP = Rotation.from_euler("x", 90, degrees=True).as_matrix()
"""From a world with y up to one with z up, as of a calibration board on the floor."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The synthetic actor with masks; its rest lies where SMPL's does, in a world with z up."""
    root = tmp_path_factory.mktemp("verdict") / "sound"
    (root / "training").mkdir(parents=True)
    actor = SyntheticActor(0)
    frame = actor.clip("training", 1)[0]
    cameras, studio = ring(4, 96, actor.outline(frame), 0), Studio(actor.wardrobe, actor.style)
    stage = studio.light(actor.dressed(frame))
    for c, camera in enumerate(cameras):
        image = film(studio, stage, camera)
        write_video(root / "training" / "rgb_video" / f"{c:03d}.avi", [image[..., :3]])
        outline = np.where(image[..., 3] > 127, 255, 0).astype(np.uint8)
        write_picture(root / "masks" / "training" / f"{c:03d}" / "000000.png", outline)
    rig, pose = actor.rig(), actor.pose(frame)
    posed = posed_vertices(rig, pose) @ Z_UP.T
    moved = replace(rig, vertices=rig.vertices + ROOT.astype(np.float32))
    write_rig(str(root), moved, *np.zeros((2, 24, 3)))
    write_cameras(str(root), [moved_camera(camera) for camera in cameras])
    write_transforms(str(root / "training" / "transform.zip"), [moved_pose(pose)])
    split = Capture.open(root).split("training")
    assert np.abs(posed_vertices(split.rig, split.pose(0)) - posed).max() < 1e-5
    return root


def moved_camera(camera):
    pose = np.eye(4)
    pose[:3] = Z_UP @ camera.T_world_camera[:3]
    return replace(camera, T_world_camera=pose)


def moved_pose(pose):
    """The same body: x' = x + ROOT at rest and un-rotated, and the world turned."""
    joints_RT = pose.joints_RT.astype(np.float64)
    joints_RT[:, :3, 3] += ROOT - joints_RT[:, :3, :3] @ ROOT
    rotation = pose.rotation @ Z_UP.T
    translation = Z_UP @ pose.translation - ROOT @ rotation
    joints = pose.joints @ Z_UP.T
    values = (joints_RT, rotation, translation, joints)
    return type(pose)(*(v.astype(np.float32) for v in values), pose.pose)


@pytest.fixture
def broken(sound, tmp_path):
    """A copy to break."""
    return Path(shutil.copytree(sound, tmp_path / "broken"))


def change_cameras(folder, change):
    """Rewrite each camera: change(K, R, T) of x_camera = R x + T gives those that a converter took them for."""
    for path in sorted((folder / "pose").iterdir()):
        K_path = folder / "intrinisc" / path.name
        K, pose = np.loadtxt(K_path), np.loadtxt(path)
        R = pose[:3, :3].T
        K, R, T = change(K, R, -R @ pose[:3, 3])
        pose[:3, :3], pose[:3, 3] = R.T, -R.T @ T
        np.savetxt(path, pose)
        np.savetxt(K_path, K)


def change_poses(folder, change):
    """Rewrite rotation, translation and joints of each frame."""
    path = folder / "training" / "transform.zip"
    with zipfile.ZipFile(path) as archive:
        frames = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in frames.items():
            taken = {key: np.array(values[key]) for key in ("rotation", "translation", "joints")}
            values |= {key: value.tolist() for key, value in change(taken).items()}
            archive.writestr(name, json.dumps(values))


def verdict_on(folder):
    capture = Capture.open(folder)
    return judge(gather(capture, capture.split("training")))


def test_a_sound_conversion_is_ok_in_all_its_aspects(sound):
    found = verdict_on(sound)
    assert [j.aspect for j in found.judgements] == ["units", "axes", "intrinsics", "mask", "tracking"]
    assert {j.state for j in found.judgements} == {"ok"} and found.causes == () and found.defects == []
    units, axes, intrinsics, mask, tracking = found.lines
    assert "the mesh is 1.69 m high, 7" in units and " px in pictures of 96x96" in units
    assert "100% of the mesh is in view" in axes
    assert float(mask.split("IoU ")[1].split()[0]) > 0.85 and "masks/" in mask
    assert "with K halved 0.0" in intrinsics and "doubled 0.0" in intrinsics
    assert "cm) from the silhouette's" in tracking and "no keypoints" in tracking


@pytest.mark.parametrize(("off", "state"), [(0.03, "ok"), (0.2, "doubtful")])
def test_joints_that_were_found_tell_how_far_the_track_is_off(broken, off, state):
    split = Capture.open(broken).split("training")
    joints, names = split.pose(0).joints.astype(np.float64), ["left_wrist", "right_knee"]
    moved = joints[[20, 5]] + [[off, 0, 0], [0, 0, off]]
    np.savez(broken / "keypoints.npz", names=np.array(names), training=moved[None].astype(np.float32))
    listed = [{"name": f"j{j}", "parent": None} for j in range(24)]
    listed[20]["name"], listed[5]["name"] = names
    (broken / "capture.json").write_text(json.dumps({"joints": listed}))
    (tracking,) = (j for j in verdict_on(broken).judgements if j.aspect == "tracking")
    assert f"tracked joints lie {100 * off:.1f} cm from those found" in tracking.text and tracking.state == state
    expected = []
    for camera in split.cameras:
        x_found, x_tracked = (p @ camera.T_world_camera[:3, :3] for p in (moved, joints[[20, 5]]))
        center = camera.T_world_camera[:3, 3] @ camera.T_world_camera[:3, :3]
        a, b = (((p - center) @ camera.K.T) for p in (x_found, x_tracked))
        expected += np.linalg.norm(a[:, :2] / a[:, 2:] - b[:, :2] / b[:, 2:], axis=1).tolist()
    assert float(tracking.text.split("joint reprojection ")[1].split()[0]) == pytest.approx(
        np.median(expected), abs=0.06
    )


def test_joints_are_not_held_against_a_track_whose_mistake_is_known(broken):
    """They are known as the capture has them: a track in millimetres is hundreds of metres off, and mended is sound."""
    joints = Capture.open(broken).split("training").pose(0).joints.astype(np.float64)
    np.savez(broken / "keypoints.npz", names=np.array(["left_wrist"]), training=joints[None, [20]].astype(np.float32))
    listed = [{"name": "left_wrist" if j == 20 else f"j{j}", "parent": None} for j in range(24)]
    (broken / "capture.json").write_text(json.dumps({"joints": listed}))

    def in_millimetres(values):
        moved = 999 * values["translation"]
        return {"translation": values["translation"] + moved, "joints": values["joints"] + moved.reshape(1, 3)}

    change_poses(broken, in_millimetres)
    found = verdict_on(broken)
    assert "translations seem to be in millimetres" in named(found, "units")
    assert "joint reprojection left out: what was wrong moves joints, too" in found.lines[4]


def named(found, aspect):
    """The text of the one line that says that something is wrong; the other lines are of what was mended."""
    wrong = [j for j in found.judgements if j.state == "wrong"]
    assert [j.aspect for j in wrong] == [aspect], found.lines
    others = [j for j in found.judgements if j.aspect != aspect]
    assert all(j.state == "ok" and j.text.endswith("; with that mended") for j in others), found.lines
    return wrong[0].text


def jump(text):
    """(IoU as the files say, IoU with the mistake undone)."""
    before, after = text.split(": IoU ")[1].split(", with this undone ")
    return float(before), float(after.split(":")[0])


def test_a_calibration_in_millimetres_is_named(broken):
    change_cameras(broken, lambda K, R, T: (K, R, 1000 * T))
    text = named(verdict_on(broken), "units")
    assert "the cameras' positions seem to be in millimetres" in text and "--unit 0.001" in text
    assert jump(text)[0] < 0.05 and jump(text)[1] > 0.8


def test_a_transposed_rotation_is_named(broken):
    change_cameras(broken, lambda K, R, T: (K, R.T, T))
    text = named(verdict_on(broken), "axes")
    assert "rotations seem to be transposed (x_cam = R^T x + T)" in text and "transpose R_/Rot_" in text
    assert jump(text)[0] < 0.6 and jump(text)[1] > 0.85


def test_global_orient_in_place_of_Rh_is_named(broken):
    # The track says (X - J) R + J + t, and was read as X R + t.
    def misread(values):
        shift = (ROOT - ROOT @ values["rotation"]).reshape(values["translation"].shape)
        return {"translation": values["translation"] - shift, "joints": values["joints"] - shift.reshape(1, 3)}

    change_poses(broken, misread)
    text = named(verdict_on(broken), "tracking")
    assert "global_orient in place of Rh" in text and "Th + J - R J" in text
    assert jump(text)[0] < 0.6 and jump(text)[1] > 0.85


def test_intrinsics_of_half_the_size_are_named(broken):
    change_cameras(broken, lambda K, R, T: (np.diag([0.5, 0.5, *np.ones(len(K) - 2)]) @ K, R, T))
    text = named(verdict_on(broken), "intrinsics")
    assert "pictures of half the pictures' size" in text and "K by 2" in text
    assert jump(text)[0] < 0.05 and jump(text)[1] > 0.8


def test_inspect_tells_the_verdict_and_counts_what_is_wrong_as_a_defect(broken):
    change_cameras(broken, lambda K, R, T: (K, R.T, T))
    found = inspect(str(broken))
    lines = found.text().splitlines()
    assert "  verdict on training:" in lines
    assert any(line.startswith("    axes: wrong: the cameras' rotations") for line in lines)
    assert any(line.startswith("defect: training: axes: wrong:") for line in lines)
    assert inspect(str(broken), verdict=False).verdicts == {}


def test_two_mistakes_at_once_are_both_named(broken):
    change_cameras(broken, lambda K, R, T: (K, R.T, 1000 * T))
    found = verdict_on(broken)
    assert [j.aspect for j in found.judgements if j.state == "wrong"] == ["units", "axes"]
    assert "millimetres" in found.lines[0] and "transposed" in found.lines[1]


def test_two_cameras_that_changed_places_are_named(broken):
    for folder in ("pose", "intrinisc"):
        one, other = broken / folder / "0001.txt", broken / folder / "0002.txt"
        one.rename(broken / folder / "aside")
        other.rename(one)
        (broken / folder / "aside").rename(other)
    text = named(verdict_on(broken), "axes")
    assert "0001 with 0002's, 0002 with 0001's" in text


def test_inverted_masks_are_named_and_turned_round_for_the_rest(broken):
    for path in (broken / "masks").rglob("*.png"):
        write_png(path, 255 - read_png(path))
    found = verdict_on(broken)
    assert [j.aspect for j in found.judgements if j.state == "wrong"] == ["mask"]
    assert "invert them" in found.lines[3] and "IoU 0.8" in found.lines[3]


def test_masks_without_anybody_are_blamed_themselves(broken):
    """A mesh out of sight would agree with them: cameras that look elsewhere are no mend."""
    for path in (broken / "masks").rglob("*.png"):
        with Image.open(path) as mask:
            Image.new("L", mask.size).save(path)
    found = verdict_on(broken)
    assert [j.aspect for j in found.judgements if j.state == "wrong"] == ["mask"]
    assert "by masks/ nobody is in any of the" in found.lines[3] and found.causes == ()


def test_a_track_that_is_off_is_doubted_but_blamed_on_nothing_else(broken):
    off = np.array([0.08, 0.05, 0.0])
    change_poses(broken, lambda values: {"translation": values["translation"] + off, "joints": values["joints"] + off})
    found = verdict_on(broken)
    assert found.defects == [] and found.judgements[4].state == "doubtful"
    distance = float(found.lines[4].split("px (")[1].split(" cm")[0])
    assert 4 < distance < 11 and "overlay.png" in found.lines[4]


def test_without_masks_a_plain_background_tells_the_silhouettes(broken):
    shutil.rmtree(broken / "masks")
    found = verdict_on(broken)
    assert "the background" in found.lines[3] and {j.state for j in found.judgements} == {"ok"}


def test_without_silhouettes_the_colors_tell(sound):
    capture = Capture.open(sound)
    evidence = replace(gather(capture, capture.split("training")), outlines=None, told_by="")
    fitting = color_spread(evidence, evidence.said)
    far = [replace(c, T_world_camera=scaled(c.T_world_camera, 1000)) for c in evidence.said.cameras]
    said = evidence.said.with_cameras(far)
    assert color_spread(evidence, said).explained < fitting.explained - 0.2
    units, _, _, mask, _ = judge(replace(evidence, said=said)).lines
    assert "in millimetres: share of the colors" in units and mask.startswith("mask: unknown: no masks")


def scaled(pose, factor):
    return np.block([[pose[:3, :3], pose[:3, 3:] * factor], [pose[3:]]])


def test_silhouettes_of_points_are_those_of_rays(sound):
    split = Capture.open(sound).split("training")
    camera, body = split.cameras[1], Body.from_rig(split.rig)
    hits = cast(body.pose(split.pose(0)), camera, Surface(body.faces, len(body.vertices)))
    expected = np.zeros((camera.height, camera.width), bool)
    expected.reshape(-1)[hits.pixel.numpy()] = True
    drawn = silhouette(place(split.rig, split.pose(0)).world, camera)
    # But for the pixels on the outline, which points touch and centres need not.
    assert not (ndimage.binary_erosion(expected) & ~drawn).any()
    assert not (drawn & ~ndimage.binary_dilation(expected, iterations=2)).any()
    assert 0.85 < iou(drawn, expected) < 1


def test_the_overlap_is_that_of_a_loop():
    one, other = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    one[1:3, 1:4], other[2:4, 2:5] = True, True
    assert iou(one, other) == 2 / 10
    assert iou(one, ~one) == 0 and iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)) == 1


@pytest.mark.parametrize("clockwise", [True, False])
def test_a_quarter_turn_moves_pixels_as_turning_the_picture_does(clockwise):
    K = np.array([[100.0, 0, 40], [0, 110, 20], [0, 0, 1]])
    pose = look_at(np.array([1.0, 2, 3]), np.zeros(3), np.array([0.0, 1, 0]))
    upright = Camera("a", K, pose, 60, 80)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3))
    x, y = upright.project(points)[0].T
    expected = np.stack([60 - 1 - y, x] if clockwise else [y, 80 - 1 - x], axis=1)
    turned = quarter_turn(replace(upright, height=80, width=60), clockwise)
    assert np.abs(turned.project(points)[0] - expected).max() < 1e-9
    picture = np.zeros((60, 80))
    picture[20, 40] = 1  # numpy turns counterclockwise for positive k
    row, column = np.argwhere(np.rot90(picture, -1 if clockwise else 1))[0]
    assert (turned.K[0, 2], turned.K[1, 2]) == (column, row)


def test_a_background_of_many_colors_tells_no_silhouette():
    image = np.full((20, 30, 3), 250, np.uint8)
    image[5:15, 10:20] = 40
    found = before_background(image)
    assert found is not None and found.sum() == 100 and found[5:15, 10:20].all()
    assert before_background(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)) is None


@pytest.mark.parametrize("known", [True, False], ids=["masks", "colors"])
def test_a_body_that_is_somewhere_else_is_no_other_mistake(sound, known):
    capture = Capture.open(sound)
    evidence = gather(capture, capture.split("training"))
    body = evidence.said.bodies[0]
    turn = Rotation.from_rotvec([0.1, 0.2, 0.1]).as_matrix()
    middle = body.world.mean(axis=0)
    moved = replace(
        body, rotation=body.rotation @ turn, translation=(body.translation - middle) @ turn + middle + [0.08, -0.06, 0]
    )
    found = judge(
        replace(evidence, said=replace(evidence.said, bodies=(moved,)), outlines=evidence.outlines if known else None)
    )
    assert found.defects == [], found.lines
    assert not known or (found.causes == () and found.judgements[4].state == "doubtful"), found.lines
