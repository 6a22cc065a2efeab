"""Pictures of a capture: lenses undone, mattes applied, written whole or not at all, and kept by the next call."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tiny_footage import BARREL, HEIGHT, WIDTH, K, grid, person, psnr, room, shot, straight_places, write_pictures

from na_ray.capture import video
from na_ray.capture.image import read_mask
from na_ray.capture.video import VideoWriter
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip
from na_ray.convert.footage import FootageReport, write_footage
from na_ray.convert.lens import Lens
from na_ray.convert.matte import MaskMatte

FRAMES = 5
SPLITS = {"training": [0, 1, 2], "testing": [3, 4]}
STRAIGHT = Lens(K, np.zeros(0), WIDTH, HEIGHT)
BENT = Lens(K, np.array(BARREL), WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def bent_places() -> np.ndarray:
    return straight_places(BARREL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bent_places: np.ndarray) -> Path:
    """Cameras `2` (bent lens) and `10` (straight), pictures and soft masks."""
    root = tmp_path_factory.mktemp("footage")
    for name, places in (("2", bent_places), ("10", grid())):
        shots = [shot(places, n) for n in range(FRAMES)]
        write_pictures(root / "images" / name, [picture for picture, _ in shots])
        write_pictures(root / "mask" / name, [matte for _, matte in shots])
    return root


def clips_of(root: Path, masks: bool = True) -> list[CameraClip]:
    names = ("10", "2")  # not in the natural order
    return [CameraClip(n, str(root / "images" / n), str(root / "mask" / n) if masks else None) for n in names]


def convert(root: Path, out: Path, masks: bool = True, **options: object) -> FootageReport:
    matte = MaskMatte() if masks else None
    return write_footage(clips_of(root, masks), [STRAIGHT, BENT], SPLITS, out, matte=matte, workers=1, **options)  # type: ignore[arg-type]


def frames_of(path: Path) -> list[np.ndarray]:
    return list(video.decode(str(path)))


def coded(path: Path, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """What the codec alone makes of pictures."""
    with VideoWriter(path, 25) as writer:
        for picture in pictures:
            writer.write(picture)
    return frames_of(path)


def on_color(frame: int, color: tuple[int, int, int]) -> np.ndarray:
    """What the mask cuts out of the pin-hole picture, before a color."""
    picture, matte = shot(grid(), frame)
    share = matte[..., None] / 255
    return (picture * share + np.array(color) * (1 - share) + 0.5).astype(np.uint8)


def test_lenses_are_undone_and_people_put_on_white(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    report = convert(folder, tmp_path / "out", progress=lambda *n: calls.append(n))
    assert calls == [(n, 10) for n in range(1, 11)]
    for split, positions in SPLITS.items():
        truth = [on_color(n, (255, 255, 255)) for n in positions]
        best = [psnr(a, b) for a, b in zip(coded(tmp_path / "best.avi", truth), truth, strict=True)]
        for number, loss in ((0, 2.5), (1, 0.5)):  # 000 is camera 2, whose lens is bent
            found = frames_of(tmp_path / "out" / split / "rgb_video" / f"{number:03d}.avi")
            assert len(found) == len(truth)
            for a, b, most in zip(found, truth, best, strict=True):
                assert psnr(a, b) > most - loss, (number, psnr(a, b), most)
            for n, position in enumerate(positions):
                mask = read_mask(str(tmp_path / f"out/masks/{split}/{number:03d}/{n:06d}.png"))
                assert (mask != (person(grid(), position)[1] > 0.5)).mean() < 0.005
    assert report.kept == () and set(report.shares) == {"2", "10"}
    assert report.shares["2"] == pytest.approx(
        np.mean([(person(grid(), n)[1] > 0.5).mean() for n in range(5)]), rel=0.02
    )
    assert "camera 2, 10: its masks are soft mattes (values up to 255)" in report.lines
    assert any(line.startswith("camera 2: its lens is undone") for line in report.lines)


def test_soft_edges_are_kept_on_a_chosen_background(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "out", background=(20, 60, 200))
    image = frames_of(tmp_path / "out/training/rgb_video/001.avi")[0]
    picture, matte = shot(grid(), 0)
    expected = on_color(0, (20, 60, 200)).astype(np.float64)
    soft = (matte > 30) & (matte < 225)
    assert soft.sum() > 100 and np.abs(image[soft] - expected[soft]).mean() < 4
    hard = np.where(matte[..., None] > 127, picture, np.array([20, 60, 200]))
    assert np.abs(hard[soft] - expected[soft]).mean() > 12  # which a hard edge is not


def test_without_mattes_the_room_stays_and_what_the_lens_did_not_see_is_background(
    folder: Path, tmp_path: Path, bent_places: np.ndarray
) -> None:
    pincushion = Lens(K, np.array((0.35, 0, 0, 0)), WIDTH, HEIGHT)
    clips = [CameraClip("2", str(folder / "images/2")), CameraClip("3", str(folder / "images/10"))]
    report = write_footage(clips, [BENT, pincushion], {"training": [1]}, tmp_path, background=(0, 0, 255), workers=1)
    assert not (tmp_path / "masks").exists() and report.shares == {}
    (image,) = frames_of(tmp_path / "training/rgb_video/000.avi")
    assert psnr(image[4:-4, 4:-4], shot(grid(), 1)[0][4:-4, 4:-4]) > 36
    (image,) = frames_of(tmp_path / "training/rgb_video/001.avi")
    assert np.abs(image[0, 0] - np.array([0, 0, 255])).max() < 25 and "3: its lens is undone; " in report.lines[-1]


def test_undistort_off_and_straight_lenses_leave_pictures_as_they_are(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "out", masks=False, undistort=False)
    for number, name in enumerate(("2", "10")):
        source = [np.asarray(Image.open(folder / f"images/{name}/{n:06d}.png")) for n in SPLITS["training"]]
        same = coded(tmp_path / "same.avi", source)
        np.testing.assert_array_equal(frames_of(tmp_path / f"out/training/rgb_video/{number:03d}.avi"), same)


def states(out: Path) -> dict[str, tuple[int, bytes]]:
    files = [p for p in out.rglob("*") if p.is_file()]
    return {str(p.relative_to(out)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def test_the_same_call_writes_the_same_bytes_and_keeps_what_is_whole(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "a")
    convert(folder, tmp_path / "b")
    first, second = states(tmp_path / "a"), states(tmp_path / "b")
    assert {k: v[1] for k, v in first.items()} == {k: v[1] for k, v in second.items()}
    report = convert(folder, tmp_path / "a", overwrite=True)
    assert report.kept == ("2", "10") and states(tmp_path / "a") == first
    (tmp_path / "a/testing/rgb_video/001.avi").unlink()
    report = convert(folder, tmp_path / "a")
    assert report.kept == ("2",)
    assert {k: v[1] for k, v in states(tmp_path / "a").items()} == {k: v[1] for k, v in first.items()}


def test_other_options_and_changed_pictures_are_noticed(folder: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    write_pictures(root, [shot(grid(), n)[0] for n in range(3)])
    clips, splits = [CameraClip("1", str(root))], {"training": [0, 1, 2]}

    def again(**options: object) -> tuple[str, ...]:
        return write_footage(clips, [STRAIGHT], splits, out, workers=1, **options).kept  # type: ignore[arg-type]

    again()
    before = states(out)
    with pytest.raises(FileExistsError, match=r"000.avi was made otherwise, .*: name another folder, or --overwrite$"):
        again(quality=5)
    assert states(out) == before
    # A picture of the same size in bytes and an old date, as copies have: its content tells.
    path = root / "000001.png"
    path.write_bytes(path.read_bytes()[:-20] + b"\0" * 20)
    os.utime(path, (1, 1))
    with pytest.raises(FileExistsError):
        again()
    Image.fromarray(shot(grid(), 0)[0]).save(path)
    assert again(overwrite=True) == () and again() == ("1",)
    for video_file in out.rglob("*.avi"):
        os.utime(video_file, (1, 1))  # a clock that ticks every four milliseconds may give both the same time
    os.utime(path)  # the same bytes, but newer than what was made of them
    with pytest.raises(FileExistsError):
        again()
    assert again(overwrite=True) == () and again() == ("1",)
    (out / "training/rgb_video/001.avi").write_bytes(b"of a camera that is gone")
    with pytest.raises(FileExistsError, match="001.avi is of no camera that is converted now"):
        again()
    assert again(overwrite=True) == ("1",) and not (out / "training/rgb_video/001.avi").exists()


def test_processes_write_the_same_bytes_and_hand_on_what_a_user_can_mend(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "one", undistort=False)
    calls: list[tuple[int, int]] = []
    options = {"matte": MaskMatte(), "workers": 2, "undistort": False, "progress": lambda *n: calls.append(n)}
    write_footage(clips_of(folder), [STRAIGHT, BENT], SPLITS, tmp_path / "two", **options)  # type: ignore[arg-type]
    one, two = states(tmp_path / "one"), states(tmp_path / "two")
    assert {k: v[1] for k, v in one.items()} == {k: v[1] for k, v in two.items()}
    assert calls == [(n, 10) for n in range(1, 11)]
    shutil.copytree(folder, tmp_path / "in")
    (tmp_path / "in/images/10/000001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"images/10/000001.png: no readable picture"):
        write_footage(clips_of(tmp_path / "in"), [STRAIGHT, BENT], SPLITS, tmp_path / "three", **options)  # type: ignore[arg-type]
    assert not list((tmp_path / "three").rglob(".*"))


def test_what_a_killed_process_left_is_removed(folder: Path, tmp_path: Path) -> None:
    left = tmp_path / "out/training/rgb_video/.000.77.partial.avi", tmp_path / "out/masks/training/.000.77.partial"
    for path in left:
        path.mkdir(parents=True)
    other = tmp_path / "out/training/rgb_video/.008.77.partial.avi"
    other.mkdir()
    convert(folder, tmp_path / "out", undistort=False)
    assert not any(path.exists() for path in left) and other.exists()


LONG = """
import sys
from pathlib import Path
import numpy as np
from na_ray.convert.clips import CameraClip
from na_ray.convert.footage import write_footage
from na_ray.convert.lens import Lens
from na_ray.convert.matte import MaskMatte

if __name__ == "__main__":
    root, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    clips = [CameraClip(n, str(root / "all"), str(root / "mask")) for n in ("a", "b", "c")]
    lenses = [Lens(np.array([[100.0, 0, 46], [0, 100, 37], [0, 0, 1]]), np.zeros(0), 96, 72)] * 3
    show = lambda done, total: print(done, flush=True)
    report = write_footage(clips, lenses, {"training": range(count)}, out, matte=MaskMatte(), workers=2, progress=show)
    print(*report.lines, sep="\\n")
"""


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_a_killed_call_leaves_nothing_half_and_goes_on(tmp_path: Path, way: signal.Signals) -> None:
    count = 80
    shots = [shot(grid(), n) for n in range(5)]
    for name, kind in (("all", 0), ("mask", 1)):
        write_pictures(tmp_path / name, [shots[n % 5][kind] for n in range(count)])
    out = tmp_path / "out"
    (tmp_path / "long.py").write_text(LONG)
    command = [sys.executable, str(tmp_path / "long.py"), str(tmp_path), str(out), str(count)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 2 * count + 5:  # two cameras are done, or nearly; the third has just begun
        pass
    if way == signal.SIGINT:
        os.killpg(process.pid, way)  # as a terminal does: to all
    else:
        process.send_signal(way)
    process.communicate(timeout=60)
    videos = out / "training/rgb_video"
    deadline = time.monotonic() + 60  # children notice at their next step
    while any(p.name.startswith(".") for p in (*videos.iterdir(), *(out / "masks/training").iterdir())):
        assert time.monotonic() < deadline, sorted(out.rglob(".*"))
        time.sleep(0.05)
    whole = sorted(videos.iterdir())
    assert all(video.count(str(path)) == count for path in whole)
    before = {path: path.stat().st_mtime_ns for path in whole}
    clips = [CameraClip(n, str(tmp_path / "all"), str(tmp_path / "mask")) for n in ("a", "b", "c")]
    straight = Lens(np.array([[100.0, 0, 46], [0, 100, 37], [0, 0, 1]]), np.zeros(0), 96, 72)
    report = write_footage(clips, [straight] * 3, {"training": range(count)}, out, matte=MaskMatte(), workers=1)
    assert len(report.kept) == len(before) and all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert [video.count(str(path)) for path in sorted(videos.iterdir())] == [count] * 3


def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    count, side = 80, (480, 640)
    for name in ("a.avi", "masks.avi"):
        with VideoWriter(tmp_path / name, 25) as writer:
            for n in range(count):
                image = np.zeros((*side, 3), np.uint8)
                image[100:400, 200 + n : 400 + n] = 255
                writer.write(image)
    process, held = psutil.Process(), []

    def look(done: int, _: int) -> None:
        if done in (20, count):
            held.append(process.memory_info().rss)

    lens = Lens(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), np.array([-0.2, 0, 0, 0]), 640, 480)
    clip = CameraClip("a", str(tmp_path / "a.avi"), str(tmp_path / "masks.avi"))
    options = {"matte": MaskMatte(), "workers": 1, "progress": look}
    gc.disable()  # what a cycle holds would stay until the collector comes by
    try:
        write_footage([clip], [lens], {"training": range(count)}, tmp_path / "out", **options)  # type: ignore[arg-type]
    finally:
        gc.enable()
    assert held[1] - held[0] < 20 * 480 * 640 * 3


@pytest.mark.parametrize(
    ("lens", "splits", "line"),
    [
        (
            BENT.resized(48, 36),
            SPLITS,
            "images/2 is 96x72, but its intrinsics are of 48x36 pictures: calibrate at this",
        ),
        (Lens(K, np.zeros(0), HEIGHT, WIDTH), SPLITS, "intrinsics are of 72x96 pictures: calibrate with upright"),
        (STRAIGHT, {"training": [4, 5]}, "images/2: frame 5 is asked for, but there are 5: ask for fewer"),
        (STRAIGHT, {"training": []}, "split training has no frames; expected one at least"),
        (Lens(K, np.array([-3.0, 0, 0, 0]), WIDTH, HEIGHT), SPLITS, "camera 2: its lens folds over [0-9]+ % of the"),
    ],
)
def test_what_does_not_fit_is_one_line(folder: Path, tmp_path: Path, lens: Lens, splits: dict, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        write_footage([CameraClip("2", str(folder / "images/2"))], [lens], splits, tmp_path, workers=1)
    assert "\n" not in str(caught.value) and not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_room_is_no_even_color() -> None:
    """The scene of these tests has something to blur."""
    assert room(grid()).std() > 20
