"""What `inspect` says of sound and broken captures, and whether its overlay draws the body where it stands."""

import json
import shutil

import numpy as np
import pytest
import torch
from make_capture import rewrite_zip, write_split, write_tiny_capture

from na_ray.body.body import Body
from na_ray.body.surface import Surface
from na_ray.capture.dataset import Capture
from na_ray.config.values import UserError
from na_ray.inspect import inspect
from na_ray.pictures import sheets
from na_ray.pictures.png import read_png
from na_ray.pictures.turntable import turntable


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return write_tiny_capture(tmp_path_factory.mktemp("inspect") / "capture")


def test_a_sound_capture_is_described_and_drawn(capture, tmp_path):
    found = inspect(str(capture), tmp_path / "sheets", frames=2)
    text = found.text()
    assert found.defects == [] and text.endswith("no defects")
    for fact in ("32 vertices", "60 faces", "5 joints", "training: raw, 4 frames (0..3", "3 cameras of 32x48 ffv1"):
        assert fact in text
    contact, over, turntable = (read_png(path) for path in found.pictures)
    # Two frames of two splits: three cameras and two maps a row; three pairs a row.
    assert contact.shape == (4 * (32 + 16), 5 * 48, 3)
    assert over.shape[0] == 4 * (300 + 16) and over.std() > 10
    assert turntable.shape == (336, 8 * 200, 3) and turntable.std() > 10
    assert list(found.verdicts) == ["testing", "training"] and len(found.verdicts["training"].lines) == 5
    with pytest.raises(FileExistsError, match=r"contact_sheet\.png exists: name another folder, or overwrite"):
        inspect(str(capture), tmp_path / "sheets")
    assert (
        inspect(str(capture), tmp_path / "sheets", frames=1, overwrite=True, verdict=False).pictures == found.pictures
    )


@pytest.mark.parametrize(
    ("cameras", "line"),
    [
        (
            [{"name": "2"}, {"name": "10"}, {"name": "side"}],
            "  cameras of the source: 0000 is 2, 0001 is 10, 0002 is side",
        ),
        ([{"name": "0000"}, {"name": "0001"}, {"name": "0002"}], None),
        ([{"name": 2}, 3, None], None),
        ({"0": "a"}, None),
    ],
)
def test_names_of_the_sources_cameras_are_told(cameras, line, capture, tmp_path):
    """Other lines tell numbers, and they are none of the names."""
    shutil.copytree(capture, tmp_path / "named")
    path = tmp_path / "named" / "capture.json"
    about = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(about | {"cameras": cameras}))
    found = inspect(str(tmp_path / "named"), verdict=False)
    assert [told for told in found.lines if "of the source" in told] == ([line] if line else [])
    assert found.defects == []


def test_the_extracted_layout_is_drawn_too(tmp_path):
    folder = tmp_path / "training_images"
    write_tiny_capture(tmp_path, splits=(), frames=1)
    write_split(folder, 2, 3, (32, 48), "extracted", "ffv1", 16)
    found = inspect(str(folder), tmp_path / "out", frames=1, verdict=False)
    assert found.defects == [] and len(found.pictures) == 3
    assert "training_images: extracted, 2 frames" in found.text()


def test_defects_come_last_and_what_can_be_read_is_described(capture, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(capture, broken)
    rewrite_zip(broken / "testing" / "transform.zip", {"000001.json": '{"joints": '})
    video = broken / "training" / "rgb_video" / "001.avi"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    found = inspect(str(broken), tmp_path / "out", verdict=False)
    assert len(found.defects) >= 2 and all("\n" not in line for line in found.defects)
    assert any("000001.json" in line for line in found.defects) and any("001.avi" in line for line in found.defects)
    assert "defect: " in found.text().splitlines()[-1] and "32 vertices" in found.text()
    shutil.rmtree(broken)
    shutil.copytree(capture, broken)
    (broken / "canonical.obj").unlink()
    found = inspect(str(broken))
    assert any("canonical.obj" in line for line in found.defects)
    assert "training: raw, 4 frames" in found.text()


def test_what_is_no_capture_is_one_line(tmp_path):
    found = inspect(str(tmp_path / "absent"), tmp_path / "out")
    assert len(found.defects) == 1 and "no such folder" in found.defects[0] and found.pictures == []


def test_the_overlay_lies_where_the_vertices_project(tmp_path):
    split = Capture.open(str(write_tiny_capture(tmp_path, resolution=(48, 48)))).split("training")
    camera, image = split.cameras[1], np.full((48, 48, 3), 255, np.uint8)
    body = Body.from_rig(split.rig)
    posed = body.pose(split.pose(3))
    drawn, outline = sheets.draw_over(image, posed, camera, Surface(body.faces, len(body.vertices)))
    rows, columns = np.nonzero((drawn != 255).any(-1))
    pixels, _ = camera.project(posed.world_vertices.numpy())
    low, high = np.ceil(pixels.min(0)), np.floor(pixels.max(0))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (*low, *high)
    assert (drawn[rows.min()] == (255, 0, 0)).all(-1).any()
    assert np.array_equal(np.nonzero(outline), (rows, columns))
    inside = drawn[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]
    # Seen from the front: the normal's blue over white, half and half.
    assert inside[2] > 240 and inside[0] < 225
    assert torch.equal(torch.from_numpy(drawn[0]), torch.full((48, 3), 255, dtype=torch.uint8))


def test_the_overlay_shows_every_camera_and_a_body_beside_the_picture(tmp_path):
    capture = write_tiny_capture(tmp_path / "capture", frames=2, cameras=8, splits=("training",))
    path = capture / "pose" / "0003.txt"
    np.savetxt(path, np.loadtxt(path) @ np.diag([-1.0, 1, -1, 1]))  # it turns its back
    drawn = sheets.overlay(Capture.open(str(capture)), frames=2)
    # The first frame in eight cameras, six a row; the second in six.
    assert drawn.shape[0] == 3 * (300 + 16)
    with pytest.raises(UserError, match="na-ray prepare"):
        turntable(Capture.open(str(without_textures(capture))))


def without_textures(capture):
    for path in capture.glob("*/tex*"):
        path.unlink()
    return capture
