"""Texture maps from elsewhere: found in every form, one line for those that are missing."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.textures import Textures
from tests.make_capture import rewrite_zip, write_picture, write_tiny_capture, write_video


def image(frame: int) -> np.ndarray:
    return np.full((16, 16, 3), (9 * frame, 200, 255 - frame), np.uint8)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Five frames, whose files are numbered 0, 1, 2, 7 and 8."""
    root = tmp_path_factory.mktemp("textures") / "tiny"
    write_tiny_capture(root, 5, 1, (16, 16), splits=("training",))
    archive = root / "training" / "transform.zip"
    with zipfile.ZipFile(archive) as members:
        moved = {f"{f + 4:06d}.json": members.read(f"{f:06d}.json").decode() for f in (3, 4)}
    rewrite_zip(archive, moved | {"000003.json": None, "000004.json": None})
    return Capture.open(root).split("training")


def write_pictures(folder: Path, numbers: tuple[int, ...] = (0, 1, 2, 7, 8), name: str = "{:06d}.png") -> Path:
    for number in numbers:
        write_picture(folder / name.format(number), image(number))
    return folder


def test_pictures_belong_to_the_frame_of_their_number(split: Split, tmp_path: Path) -> None:
    assert split.frames == [0, 1, 2, 7, 8]
    for place in (write_pictures(tmp_path / "flat"), write_pictures(tmp_path / "out" / "tex").parent):
        textures = Textures.open(place, split, range(5))
        assert [int(textures.texture(p)[0, 0, 2]) for p in range(5)] == [255 - n for n in (0, 1, 2, 7, 8)]
    named = Textures.open(write_pictures(tmp_path / "named", name="frame_{:03d}.png"), split, [3])
    assert np.array_equal(named.texture(3), image(7))


def test_a_video_holds_the_first_frames_of_the_split(split: Split, tmp_path: Path) -> None:
    write_video(tmp_path / "tex.avi", [image(p) for p in range(4)])
    for place in (tmp_path / "tex.avi", tmp_path):
        textures = Textures.open(place, split, [0, 3])
        assert np.array_equal(textures.texture(3), image(3)) and np.array_equal(textures.texture(0), image(0))


def test_an_alpha_channel_is_dropped(split: Split, tmp_path: Path) -> None:
    write_picture(tmp_path / "000002.png", np.dstack([image(2), np.full((16, 16), 90, np.uint8)]))
    assert np.array_equal(Textures.open(tmp_path, split, [2]).texture(2), image(2))


def test_pictures_come_before_a_video_beside_them(split: Split, tmp_path: Path) -> None:
    write_pictures(tmp_path / "tex")
    write_video(tmp_path / "tex.avi", [image(20)] * 5)
    assert np.array_equal(Textures.open(tmp_path, split, range(5)).texture(4), image(8))


def test_only_the_frames_asked_for_must_be_there(split: Split, tmp_path: Path) -> None:
    write_pictures(tmp_path / "tex", (1, 7))
    assert np.array_equal(Textures.open(tmp_path, split, [1, 3]).texture(3), image(7))
    with pytest.raises(FileNotFoundError, match=r"tex: no texture map of frame 2 \(2 of 4 frames lack one\)"):
        Textures.open(tmp_path, split, range(1, 5))


def test_what_is_missing_gets_one_line(split: Split, tmp_path: Path) -> None:
    write_video(tmp_path / "short" / "tex.avi", [image(0)] * 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("none here")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tex.avi").write_text("no video")
    expected = {
        "nowhere": "no such folder with files in it; expected pictures such as 000000.png",
        "empty": "no such folder with files in it",
        "notes": "no texture maps; expected pictures such as 000000.png",
        "gone.avi": "no such file",
        "short": "tex.avi: holds 2 frames; frame 4 was asked for: choose other frames",
        "broken": "tex.avi: no readable video",
    }
    for name, line in expected.items():
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            Textures.open(tmp_path / name, split, [0, 4])
        assert line in str(caught.value) and "\n" not in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)


def test_a_damaged_picture_is_named(split: Split, tmp_path: Path) -> None:
    write_pictures(tmp_path / "tex")
    path = tmp_path / "tex" / "000007.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"000007.png: no readable picture"):
        Textures.open(tmp_path, split, range(5)).texture(3)
