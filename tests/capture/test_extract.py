"""From the raw to the extracted layout."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_capture import picture, rewrite_zip, texture, transform, write_tiny_capture, write_video

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture
from na_ray.capture.extract import extract

SIZE = (32, 48)
FRAMES = 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("raw") / "capture", frames=FRAMES, splits=("training",))


@pytest.fixture
def source(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "capture") / "training"


def check(out: Path, frames: range, cameras: list[int]) -> None:
    """Frame f of the video is named f, in every folder, and nothing else is there."""
    split = Capture.open(out).split(out.name)
    assert split.frames == list(frames) and split.files.kind == "extracted"
    assert [c.name for c in split.cameras] == [f"{c:04d}" for c in cameras]
    for i, frame in enumerate(frames):
        for position, camera in enumerate(cameras):
            np.testing.assert_array_equal(split.image(i, position), picture("training", frame, camera, SIZE))
        np.testing.assert_array_equal(split.texture(i), texture(frame, 32))
        np.testing.assert_array_equal(split.normal_map(i), 255 - texture(frame, 32))
        np.testing.assert_allclose(split.pose(i).translation, transform(frame)["translation"][0], atol=1e-7)
    names = {p.name for p in out.rglob("*") if p.is_file() and p.suffix == ".png"}
    assert names <= {f"{f:06d}.png" for f in frames} | {f"{c:04d}.png" for c in cameras}
    assert not list(out.rglob("*.partial"))


def test_everything(source: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    out = extract(source, tmp_path / "out", progress=lambda done, total: steps.append((done, total)))
    check(out, range(FRAMES), [0, 1, 2])
    assert steps == [(n + 1, 5 * FRAMES) for n in range(5 * FRAMES)]
    assert examine(out).defects == []
    assert Capture.open(out).rig.weights.shape == (32, 5)


def test_a_range_that_starts_in_the_middle_and_some_cameras(source: Path, tmp_path: Path) -> None:
    check(extract(source, tmp_path / "out", 3, 6, cameras=[0, 2]), range(3, 6), [0, 2])


def test_beside_the_capture(source: Path) -> None:
    out = extract(source, source.parent / "training_images", 2, 4)
    assert Capture.open(source.parent).splits == ("training", "training_images")
    check(out, range(2, 4), [0, 1, 2])


def test_it_resumes_and_keeps_what_is_there(source: Path, tmp_path: Path) -> None:
    out = extract(source, tmp_path / "out", 2, 5)
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    for gone in ("rgb/000003/0001.png", "tex/000004.png", "transform/000002.json"):
        del kept[out / gone]
        (out / gone).unlink()
    extract(source, out, 2, 5)
    check(out, range(2, 5), [0, 1, 2])
    kept.pop(out / ".extracted.json")
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    extract(source, out, 0, 7)
    check(out, range(7), [0, 1, 2])


def test_nothing_is_overwritten_unasked(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "rgb").mkdir(parents=True)
    (out / "rgb" / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds other files \(rgb\); choose another folder, or pass --overwrite"):
        extract(source, out, 0, 2)
    assert (out / "rgb" / "mine.txt").read_text() == "precious" and len(list(out.rglob("*"))) == 2
    check(extract(source, out, 0, 2, overwrite=True), range(2), [0, 1, 2])


def test_frames_of_another_source_are_not_mixed(source: Path, tmp_path: Path) -> None:
    out = extract(source, tmp_path / "out", 0, 4)
    other = shutil.copytree(source.parent, tmp_path / "other") / "training"
    with pytest.raises(FileExistsError, match="holds frames of another source"):
        extract(other, out, 0, 2)
    check(extract(other, out, 5, 7, overwrite=True), range(5, 7), [0, 1, 2])


def test_it_never_writes_into_a_raw_split(source: Path) -> None:
    with pytest.raises(FileExistsError, match="no folder for extracted frames"):
        extract(source, source, overwrite=True)


def test_members_that_leave_the_archive_are_refused(source: Path, tmp_path: Path) -> None:
    rewrite_zip(source / "transform.zip", {"../../evil.json": "{}"})
    with pytest.raises(ValueError, match=r"member '../../evil.json' leaves its folder"):
        extract(source, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.json")) and not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: write_video(s / "rgb_video/001.avi", [texture(f, 32) for f in range(7)]), "7 frames; expected 8"),
        (lambda s: (s / "rgb_video/001.avi").write_bytes(b"no"), "no readable video"),
        (lambda s: shutil.rmtree(s / "rgb_video"), "holds no rgb_video/"),
    ],
)
def test_a_broken_source_is_refused_before_anything_is_written(
    source: Path, tmp_path: Path, change: Callable[[Path], object], line: str
) -> None:
    change(source)
    with pytest.raises(ValueError, match=line):
        extract(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_does_not_exist(source: Path, tmp_path: Path) -> None:
    for start, stop in ((0, 9), (5, 5), (-1, 2)):
        with pytest.raises(ValueError, match=r"do not exist; expected a range within 0..8"):
            extract(source, tmp_path / "out", start, stop)
    with pytest.raises(ValueError, match="no camera at position 3"):
        extract(source, tmp_path / "out", cameras=[3])
    with pytest.raises(ValueError, match="name its folder"):
        extract(write_tiny_capture(tmp_path / "two"), tmp_path / "out")


def test_videos_with_two_numbers_do_not_share_a_picture(source: Path, tmp_path: Path) -> None:
    for path in (source / "rgb_video").iterdir():
        path.rename(path.with_name(f"{path.stem}_1080p.avi"))
    check(extract(source, tmp_path / "out"), range(FRAMES), [0, 1, 2])
