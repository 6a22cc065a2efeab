"""Which picture, mask and pose belong to one instant, where files are missing, doubled, or numbered otherwise."""

import shutil

import numpy as np
import pytest
from convert.easymocap_writer import write_easymocap, write_track
from convert.scene import make_scene, model_arrays
from PIL import Image

from na_ray.capture.video import VideoWriter
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip
from na_ray.convert.mask_files import open_masks
from na_ray.convert.plan import ConvertOptions, plan
from na_ray.convert.source import easymocap_source

CAMERAS = ("01", "2", "10", "cam_a")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Six frames; a body beside them."""
    root = tmp_path_factory.mktemp("sound")
    scene = make_scene(frames=6, size=(48, 36))
    np.savez(root / "body.npz", **model_arrays(scene))
    write_easymocap(root / "seq", scene)
    return root, scene


@pytest.fixture
def seq(sound, tmp_path):
    shutil.copytree(sound[0] / "seq", tmp_path / "seq")
    return tmp_path / "seq"


@pytest.fixture
def planned(sound, seq):
    """What becomes of the sequence: (its plan, position of the picture of each frame number)."""

    def make(**options):
        made = plan(easymocap_source(str(seq)), ConvertOptions(body=str(sound[0] / "body.npz"), **options))
        return made, {n: made.source.position(n) for n in made.splits["training"]}

    return make


def number(seq, folder, numbers, cameras=CAMERAS):
    """Give the files of cameras other numbers; None takes one away."""
    for camera in cameras:
        files = sorted((seq / folder / camera).iterdir())
        for file in files:
            file.rename(file.with_name(f"old_{file.name}"))
        for file, found in zip(files, numbers, strict=True):
            old = file.with_name(f"old_{file.name}")
            old.unlink() if found is None else old.rename(file.with_name(f"{found:06d}{file.suffix}"))


def film(seq, rates=(25, 25, 25, 25), frames=6):
    """Videos in place of the pictures."""
    shutil.rmtree(seq / "images")
    for camera, rate in zip(CAMERAS, rates, strict=True):
        with VideoWriter(seq / "videos" / f"{camera}.avi", rate, "mjpeg", quality=4) as video:
            for i in range(frames):
                video.write(np.full((36, 48, 3), 20 * i, np.uint8))


def track(seq, scene, numbers):
    shutil.rmtree(seq / "smpl")
    write_track(seq, type(scene)(**{**vars(scene), "poses": scene.poses[: len(numbers)]}), numbers=numbers)


@pytest.mark.parametrize("first", [0, 1])
def test_a_pose_whose_picture_is_missing_everywhere_is_left_out(first, sound, seq, planned):
    """And not shown with the picture that follows."""
    numbers = [first + i if i != 3 else None for i in range(6)]
    number(seq, "images", numbers)
    track(seq, sound[1], [first + i for i in range(6)])
    made, positions = planned()
    assert positions == {first: 0, first + 1: 1, first + 2: 2, first + 4: 3, first + 5: 4}
    assert any("1 tracked frames are left out" in line for line in made.lines)


def test_poses_of_a_part_skip_the_missing_picture(sound, seq, planned):
    number(seq, "images", [0, 1, 2, None, 4, 5])
    track(seq, sound[1], [1, 3, 5])
    assert planned()[1] == {1: 1, 5: 4}


def test_numbers_that_nobody_filmed_are_told(sound, seq, planned):
    number(seq, "images", [10, 11, 12, 13, 14, 15])
    track(seq, sound[1], [90, 91])
    with pytest.raises(UserError, match="tracked in frames 90 to 91, filmed in 10 to 15"):
        planned()


@pytest.mark.parametrize("name", ["000002.png", "000002 - Copy.jpg", "000002 (1).jpg"])
@pytest.mark.parametrize("camera", ["01", "10"])
def test_a_picture_that_lies_there_twice_is_told(camera, name, seq, planned):
    """Whatever comes behind it would be a frame late."""
    folder = seq / "images" / camera
    with Image.open(folder / "000002.jpg") as picture:
        picture.save(folder / name)
    with pytest.raises(UserError, match=rf"images/{camera}: .*both number"):
        planned()


@pytest.mark.parametrize("camera", ["01", "10"])
def test_a_picture_that_is_no_frame_is_told(camera, seq, planned):
    shutil.copy(seq / "images" / camera / "000002.jpg", seq / "images" / camera / "board.jpg")
    with pytest.raises(UserError, match=r"board.jpg bears no number, as 00000[0-9].jpg does"):
        planned()


def test_time_stamps_of_each_camera_are_told_for_what_they_are(seq, planned):
    for k, camera in enumerate(CAMERAS):
        number(seq, "images", [100_000 + 40 * i + 3 * k for i in range(6)], [camera])
    with pytest.raises(UserError, match="no number in common; expected the same number for the same instant"):
        planned()


@pytest.mark.parametrize(
    ("numbers", "positions"),
    [
        ([1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5]),  # from 1: there is no frame 6
        ([2, 4, 6], [1, 3, 5]),
        ([101, 102, 103, 104, 105, 106], [0, 1, 2, 3, 4, 5]),  # as many as frames
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]),  # nothing says otherwise
        ([3, 4, 9], [3, 4]),  # of another take, maybe
    ],
)
def test_poses_of_videos(numbers, positions, sound, seq, planned):
    film(seq)
    track(seq, sound[1], numbers)
    made, found = planned()
    assert list(found.values()) == positions
    assert any("is taken for the first frame" in line for line in made.lines) == (numbers[0] != positions[0])


def test_clocks_that_part_are_told(seq, planned):
    film(seq, (25, 25, 50, 25))
    for options in ({}, {"fps": 25.0}):
        warning = next(line for line in planned(**options)[0].lines if line.startswith("warning"))
        assert "01.avi has 25 frames a second, 10.avi 50: 3 frames apart at the end" in warning


def test_clocks_that_hardly_part_are_fine(seq, planned):
    film(seq, (25, 25, 30, 25))
    assert not [line for line in planned()[0].lines if line.startswith("warning")]


@pytest.mark.parametrize(
    ("numbers", "is_video", "whole"),
    [
        ([None, None, 2, 3, 4, 5], True, False),
        ([7, 8, 9, 10, 11, 12], True, True),
        ([1, 2, 3, 4, 5, None], True, True),
        ([None, 1, 2, 3, 4, 5], False, False),
        ([0, 1, 2, 3, 4, None], False, True),
    ],
)
def test_masks_without_the_pictures_names(numbers, is_video, whole, seq):
    """A mask for each frame, or numbers that begin as the frames do: else nothing says whose a mask is."""
    if is_video:
        film(seq)
    number(seq, "mask", numbers, ["2"])
    for file in (seq / "mask" / "2").iterdir():
        file.rename(file.with_name(f"mask_{file.name}"))
    path = seq / ("videos/2.avi" if is_video else "images/2")
    clip = CameraClip("2", str(path), str(seq / "mask" / "2"))
    if whole:
        assert len(open_masks(clip, range(4)).names) == 4
    else:
        with pytest.raises(UserError, match="of 6 frames: nothing says which is whose"):
            open_masks(clip, range(4))


@pytest.mark.parametrize("same", [True, False])
def test_a_number_of_the_frame_among_others_counts(same, seq, planned):
    """As ZJU-MoCap's oldest sequences are named: frame, date and time of the exposure."""
    for k, camera in enumerate(CAMERAS):
        for i, file in enumerate(sorted((seq / "images" / camera).iterdir())):
            frame = i + (not same) * k
            file.rename(file.with_name(f"Camera ({k})_{frame:04d}_2019-08-23_16-08-50.{592 + 16 * i + k}.jpg"))
    if same:
        assert list(planned()[1].values()) == [0, 1, 2, 3, 4, 5]
    else:
        with pytest.raises(UserError, match="no number in common"):
            planned()
