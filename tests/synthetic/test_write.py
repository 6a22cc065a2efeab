import hashlib
import json
import zipfile

import numpy as np
import pytest
import torch

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface, project_to_faces
from na_ray.body.unwrap import unwrap
from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.config.values import UserError
from na_ray.synthetic.actor import SyntheticActor
from na_ray.synthetic.scene import film
from na_ray.synthetic.shading import Studio
from na_ray.synthetic.skeleton import forward_kinematics
from na_ray.synthetic.wardrobe import PIECES
from na_ray.synthetic.write import write_capture

SMALL = {"frames": 3, "test_frames": 2, "cameras": 4, "resolution": 96, "texture_size": 96, "seed": 5}


def _digests(root):
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_capture_has_no_defects_and_reopens(written):
    out, calls = written
    assert examine(str(out)).defects == []
    assert calls == [(k, 5) for k in range(1, 6)]
    capture = Capture.open(str(out))
    assert set(capture.splits) == {"training", "testing"}
    for name, frames in (("training", 3), ("testing", 2)):
        split = capture.split(name)
        assert split.num_frames == frames and len(split.cameras) == 4
        assert split.image(frames - 1, 2).shape == (96, 96, 3)
        assert split.texture(0).shape == split.normal_map(0).shape == (96, 96, 3)
    focal = [camera.K[0, 0] for camera in split.cameras]
    heights = [camera.center[1] for camera in split.cameras]
    assert len(set(focal)) == 4 and max(heights) - min(heights) > 0.8


def test_maps_are_made_from_the_cameras_that_capture_json_names(written, tmp_path):
    out, _ = written
    capture = Capture.open(str(out))
    assert capture.texture_cameras == (0, 1, 2), "the fourth is left out, as training does"
    about = json.loads((out / "capture.json").read_text())
    assert about["tool"]["name"] == "na-ray synth" and about["tool"]["version"]
    assert (about["unit"], about["up"], about["fps"]) == ("metre", [0, 1, 0], 10)
    write_capture(tmp_path / "two", **SMALL | {"frames": 1, "test_frames": 1, "texture_cameras": "1,3"})
    other = Capture.open(tmp_path / "two")
    assert other.texture_cameras == (1, 3)
    split = other.split("training")
    atlas = Atlas(Body.from_rig(split.rig), SMALL["texture_size"])
    posed = atlas.body.pose(split.pose(0))
    through = {
        views: unwrap(atlas, [split.image(0, v) for v in views], [split.cameras[v] for v in views], posed).numpy()
        for views in ((1, 3), (0, 1, 2, 3))
    }
    # The stored map was made from pictures before motion JPEG took its share.
    off = {views: np.abs(found.astype(float) - split.texture(0)).mean() for views, found in through.items()}
    assert off[(1, 3)] < 0.8 * off[(0, 1, 2, 3)]
    with pytest.raises(ValueError, match="asks for number 9, but there are 4"):
        write_capture(tmp_path / "x", **SMALL | {"texture_cameras": "9"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"textures": ', "capture.json is damaged"),
        ("[]", "expected an object"),
        ('{"textures": {"cameras": "all"}}', "textures.cameras is 'all'; expected a list"),
    ],
)
def test_a_damaged_capture_json_is_one_line(written, tmp_path, text, told):
    (tmp_path / "training").symlink_to(written[0] / "training")
    assert Capture.open(tmp_path).texture_cameras is None
    (tmp_path / "capture.json").write_text(text)
    with pytest.raises(UserError, match=told) as error:
        _ = Capture.open(tmp_path).texture_cameras
    assert "\n" not in str(error.value)


def test_files_hold_one_motion_in_every_field(written):
    out, _ = written
    with zipfile.ZipFile(out / "training" / "transform.zip") as archive:
        frames = [json.loads(archive.read(name)) for name in sorted(archive.namelist())]
    for frame in frames:
        transforms = np.array(frame["joints_RT"]).transpose(2, 0, 1)
        stature = SyntheticActor(SMALL["seed"]).style.stature
        expected = forward_kinematics(np.array(frame["pose"]).reshape(24, 3))
        expected[:, :3, 3] *= stature
        np.testing.assert_allclose(transforms, expected, atol=1e-6)
        np.testing.assert_allclose(transforms[0], np.eye(4), atol=1e-7)
    np.testing.assert_allclose(frames[2]["motion"], [f["joints"] for f in frames], atol=1e-7)
    np.testing.assert_allclose(frames[0]["motion"], [frames[0]["joints"]] * 3, atol=1e-7)


def test_images_show_a_person_on_white_where_the_template_is(written):
    capture, actor = Capture.open(str(written[0])), SyntheticActor(SMALL["seed"])
    body, studio = Body.from_rig(capture.rig, dtype=torch.float64), Studio(actor.wardrobe, actor.style)
    surface = Surface(body.faces, len(body.vertices))
    overlaps = []
    for name in capture.splits:
        split = capture.split(name)
        posed = body.pose(split.pose(1))
        stage = studio.light(actor.dressed(actor.clip(name, split.num_frames)[1]))
        for k, camera in enumerate(split.cameras):
            filmed, image = film(studio, stage, camera), split.image(1, k).astype(int)
            person = filmed[..., 3] > 127
            border = np.concatenate([image[:2].reshape(-1, 3), image[:, :2].reshape(-1, 3), image[-2:].reshape(-1, 3)])
            assert border.min() > 240
            assert ((image - filmed[..., :3]) ** 2).mean() < 255**2 / 10**3.3
            assert image[person].std(axis=0).min() > 25, "the clothes have colors"
            template = textured_mesh(posed, torch.zeros(3, 4, 4), camera, surface)[2].numpy() > 0.5
            overlaps.append((person & template).sum() / (person | template).sum())
    # A pixel's width of silhouette counts for much at this size.
    assert np.mean(overlaps) > 0.85 and min(overlaps) > 0.80


def test_maps_belong_to_the_frame(written):
    split = Capture.open(str(written[0])).split("testing")
    atlas = Atlas(Body.from_rig(split.rig), 96)
    inside = atlas.inside.numpy()
    expected = atlas.normal_map(atlas.body.pose(split.pose(1))).numpy().astype(int)
    assert np.abs(split.normal_map(1)[inside].astype(int) - expected[inside]).mean() < 4.0
    texture = split.texture(1).astype(int)
    assert texture[inside].mean() > 60 and texture[:3, :3].max() < 12


def test_cloth_lies_off_the_template_but_in_the_shell():
    actor = SyntheticActor(1)
    body = Body.from_rig(actor.rig(), dtype=torch.float64)
    surface = Surface(body.faces, len(body.vertices))
    frame = actor.clip("training", 8)[5]
    posed = body.pose(actor.pose(frame))
    surface.refit(posed.vertices)
    vertices = actor.dressed(frame)
    points = posed.to_normalized(torch.from_numpy(vertices))
    found = project_to_faces(points, posed.vertices, body.faces, surface.closest(points))
    outside = (found.sq_distance.sqrt() * found.sign).numpy()
    loose = np.isin(actor.wardrobe.piece, [PIECES.index(name) for name in ("skirt", "coat_tail", "ponytail")])
    assert 0.10 < (outside[loose] > 0.02).mean() < 0.6
    assert 0.001 < (outside[loose] > 0.06).mean() < 0.10
    assert (outside[~loose] > 0.03).mean() < 0.001


def test_same_seed_writes_the_same_bytes_and_another_seed_another_person(tmp_path):
    tiny = {"frames": 1, "test_frames": 1, "cameras": 2, "resolution": 32, "texture_size": 32}
    for name, seed in (("a", 2), ("b", 2), ("c", 3)):
        write_capture(tmp_path / name, **tiny, seed=seed)
    first, again, other = (_digests(tmp_path / name) for name in "abc")
    assert first == again
    assert first["training/rgb_video/000.avi"] != other["training/rgb_video/000.avi"]
    assert first["canonical.obj"] != other["canonical.obj"]


def test_nothing_is_overwritten_unasked(written, tmp_path):
    out, _ = written
    before = _digests(out)
    with pytest.raises(FileExistsError, match="exists: choose another folder, or allow overwriting"):
        write_capture(out, **SMALL)
    assert _digests(out) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no capture .* it will not be overwritten"):
        write_capture(tmp_path, **SMALL, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_overwriting_replaces_the_whole_capture(tmp_path):
    out = tmp_path / "actor"
    out.mkdir()
    (out / "canonical.obj").write_text("old")
    (out / "stale.txt").write_text("old")
    write_capture(out, frames=1, test_frames=1, cameras=1, resolution=32, texture_size=32, overwrite=True)
    assert examine(str(out)).defects == []
    assert not (out / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["actor"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_capture(tmp_path / "actor", **SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value", "least"),
    [("frames", 0, 1), ("seed", -1, 0), ("cameras", 0, 1), ("resolution", 8, 16), ("texture_size", 4, 16)],
)
def test_numbers_out_of_range_are_refused(tmp_path, field, value, least):
    with pytest.raises(ValueError, match=f"{field} is {value}: it must be at least {least}"):
        write_capture(tmp_path / "actor", **{**SMALL, field: value})
