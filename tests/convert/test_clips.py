"""Pictures of a camera as they come: videos and folders, upright, of one length."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_footage import write_pictures

from na_ray.capture.video import VideoWriter
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip, common_range, natural, runs

SIZE = (36, 48)


def shade(n: int) -> np.ndarray:
    return np.full((*SIZE, 3), 20 + 5 * n, np.uint8)


def write_video(path: Path, count: int, codec: str = "h264") -> str:
    with VideoWriter(path, 25, codec) as video:  # type: ignore[arg-type]
        for n in range(count):
            video.write(shade(n))
    return str(path)


def numbers(clip: CameraClip, positions: list[int]) -> list[int]:
    return [round((float(image[..., 0].mean()) - 20) / 5) for image in clip.images(positions)]


def test_names_sort_as_people_count() -> None:
    assert sorted(["cam10", "cam2", "1", "10", "2", "cam_a"], key=natural) == ["1", "2", "10", "cam2", "cam10", "cam_a"]


def test_frames_far_apart_are_reached_by_seeks_and_neighbours_by_decoding() -> None:
    assert list(runs([0, 1, 5, 40, 41, 90])) == [[0, 1, 5], [40, 41], [90]] and list(runs([])) == []


@pytest.mark.parametrize("kind", ["a.mp4", "a.avi", "folder"])
def test_pictures_at_positions(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        folder = write_pictures(tmp_path / "a", [shade(n) for n in range(40)])
        (folder / "notes.txt").write_text("no picture")
        (folder / "000003.png").rename(folder / "3.png")  # sorts by its number
        clip = CameraClip("a", str(folder))
    else:
        clip = CameraClip("a", write_video(tmp_path / kind, 40, "h264" if kind == "a.mp4" else "mjpeg"))
    assert (clip.frames, clip.size) == (40, SIZE)
    for positions in ([0, 1, 2], [3, 7, 30, 39], list(range(40)), [39]):
        assert numbers(clip, positions) == positions


def test_videos_and_pictures_that_lie_on_their_side_are_upright(tmp_path: Path) -> None:
    path = Path(write_video(tmp_path / "a.mp4", 3))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, at, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    clip = CameraClip("a", str(path))
    assert clip.size == SIZE[::-1] and numbers(clip, [0, 2]) == [0, 2]
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "b").mkdir()
    Image.fromarray(shade(0)).save(tmp_path / "b/0.jpg", exif=exif)
    clip = CameraClip("b", str(tmp_path / "b"))
    assert clip.size == SIZE[::-1] and next(clip.images([0])).shape == (*SIZE[::-1], 3)


def test_gray_deep_and_transparent_pictures(tmp_path: Path) -> None:
    gray = np.arange(36 * 48, dtype=np.uint16).reshape(SIZE) * 37
    (tmp_path / "a").mkdir()
    Image.fromarray(gray).save(tmp_path / "a/0.png")
    Image.fromarray((gray >> 8).astype(np.uint8)).save(tmp_path / "a/1.png")
    deep, flat = CameraClip("a", str(tmp_path / "a")).images([0, 1])
    assert deep.shape == (*SIZE, 3) and np.array_equal(deep, flat)
    (tmp_path / "b").mkdir()
    Image.fromarray(np.dstack([shade(1), np.full(SIZE, 9, np.uint8)])).save(tmp_path / "b/0.png")
    assert next(CameraClip("b", str(tmp_path / "b")).images([0])).shape == (*SIZE, 4)


def test_the_common_range_of_different_lengths_is_said(tmp_path: Path) -> None:
    clips = [CameraClip(str(n), write_video(tmp_path / f"{n}.avi", c, "mjpeg")) for n, c in enumerate((7, 8, 7, 9))]
    assert common_range(clips[:1]) == (range(7), [])
    line = "the first 7 frames of each camera are used; more frames in 1 (8), 3 (9)"
    assert common_range(clips) == (range(7), [line])
    short = [*clips[1:2] * 2, clips[0]]
    line = "the first 7 frames of each camera are used, all that camera 0 has; more frames in 1 (8)"
    assert common_range(short) == (range(7), [line])


def test_a_picture_that_is_missing_in_the_middle_would_shift_the_others(tmp_path: Path) -> None:
    for name in "ab":
        write_pictures(tmp_path / name, [shade(n) for n in range(5)])
    clips = [CameraClip(name, str(tmp_path / name)) for name in "ab"]
    (tmp_path / "b/000004.png").unlink()
    assert common_range(clips)[0] == range(4)
    (tmp_path / "b/000001.png").unlink()
    clips = [CameraClip(name, str(tmp_path / name)) for name in "ab"]
    with pytest.raises(
        UserError, match=r"b: picture 1 is 000002.png, where .*a/000001.png is the other camera's: copy"
    ):
        common_range(clips)


def broken(folder: Path, kind: str) -> CameraClip:
    """A clip with one defect."""
    path = folder / "a.mp4"
    if kind == "empty folder":
        path = folder / "a"
        path.mkdir()
    elif kind == "no video":
        path.write_text("this is no video")
    elif kind == "another ending":
        path = folder / "a.docx"
        path.write_text("this is no video")
    elif kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "cut video":
        path = Path(write_video(folder / "a.avi", 9, "mjpeg"))
        path.write_bytes(path.read_bytes()[:-9000])
    elif kind == "sizes that change":
        path = write_pictures(folder / "a", [shade(0), shade(1)[:30], shade(2)])
    elif kind == "unreadable picture":
        path = write_pictures(folder / "a", [shade(0)] * 3)
        (path / "000002.png").write_bytes((path / "000002.png").read_bytes()[:60])
    elif kind == "ink":
        path = folder / "a"
        path.mkdir()
        Image.fromarray(np.zeros((*SIZE, 4), np.uint8), mode=None).convert("CMYK").save(path / "0.jpg")
    return CameraClip("a", str(path))


BROKEN = {
    "absent": "a.mp4: no such file; expected camera a's video or a folder of its pictures: copy it there",
    "empty folder": "a: no pictures; expected .png, .jpg, .jpeg files, one a frame: copy them there",
    "no video": "a.mp4: no readable video .*: copy the file again",
    "another ending": "a.docx is no video .* and no folder of pictures: encode it so",
    "zero bytes": "a.mp4: no readable video .*: copy the file again",
    "cut video": "a.avi: .*: copy the file again",
    "sizes that change": "000001.png: frame 1 is 48x30; expected 48x36, as the first: leave out what is not of this",
    "unreadable picture": "000002.png: no readable picture .*: extract or copy it again",
    "ink": r"0.jpg: colors of ink \(CMYK\)",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_one_line(tmp_path: Path, kind: str) -> None:
    clip = broken(tmp_path, kind)
    with pytest.raises((UserError, FileNotFoundError), match=BROKEN[kind]) as caught:
        list(clip.images(range(clip.frames)))
    assert "\n" not in str(caught.value)
