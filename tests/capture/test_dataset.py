"""Captures in every layout and spelling, from folders and URLs."""

import json
import pickle
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
from make_capture import picture, rewrite_zip, texture, transform, write_tiny_capture
from PIL import Image
from range_server import Quiet, Ranges

from na_ray.capture.checks.defects import examine
from na_ray.capture.checks.describe import describe
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import find_splits, match_numbers
from na_ray.capture.naming import by_number, number_of, series_of

SIZE = (32, 48)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {layout: write_tiny_capture(folder / layout, layout=layout) for layout in ("raw", "extracted")}


@pytest.fixture
def copies(whole: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda layout: shutil.copytree(whole[layout], tmp_path / "capture")


def check_split(split: Split, name: str) -> None:
    """Every picture, map and pose is the one that was written."""
    assert (split.name, split.num_frames, split.frames, len(split.cameras)) == (name, 4, [0, 1, 2, 3], 3)
    for camera in range(3):
        expected = [picture(name, f, camera, SIZE) for f in range(4)]
        np.testing.assert_array_equal(np.array(list(split.images(camera))), expected)
        np.testing.assert_array_equal(np.array(list(split.images(camera, 1, 3))), expected[1:3])
        np.testing.assert_array_equal(split.image(2, camera), expected[2])
    for frame in range(4):
        np.testing.assert_array_equal(split.texture(frame), texture(frame, 32))
        np.testing.assert_array_equal(split.normal_map(frame), 255 - texture(frame, 32))
        pose, stored = split.pose(frame), transform(frame, name)
        np.testing.assert_allclose(pose.joints_RT.transpose(1, 2, 0), stored["joints_RT"], atol=1e-7)
        np.testing.assert_allclose(pose.translation, stored["translation"][0], atol=1e-7)
        np.testing.assert_allclose(pose.rotation, stored["rotation"], atol=1e-7)
    assert [(c.height, c.width) for c in split.cameras] == [SIZE] * 3


@pytest.mark.parametrize("layout", ["raw", "extracted"])
def test_both_layouts(whole: dict[str, Path], layout: str) -> None:
    capture = Capture.open(whole[layout])
    assert capture.splits == ("testing", "training")
    for name in capture.splits:
        check_split(capture.split(name), name)
        assert (capture.split(name).video(1) is not None) == (layout == "raw")
        assert (capture.split(name).texture_video is not None) == (layout == "raw")
    assert (capture.rig.weights.shape, capture.rig.uv_faces.shape) == ((32, 5), (60, 3))
    assert capture.split("training").rig is capture.rig


@pytest.mark.parametrize("layout", ["raw", "extracted"])
def test_a_split_given_directly(whole: dict[str, Path], layout: str) -> None:
    capture = Capture.open(f"{whole[layout]}/training/")
    assert capture.splits == ("training",)
    check_split(capture.split("training"), "training")
    assert capture.rig.vertices.shape == (32, 3)


@pytest.mark.parametrize("layout", ["raw", "extracted"])
def test_a_split_is_small_when_it_is_sent(whole: dict[str, Path], layout: str) -> None:
    split = Capture.open(whole[layout]).split("training")
    assert len(split.cameras) == 3
    data = pickle.dumps(split)
    assert len(data) < 8000
    check_split(pickle.loads(data), "training")


def rename(folder: Path, change: Callable[[str], str]) -> None:
    for path in sorted(folder.iterdir()):
        path.rename(folder / change(path.name))


def prefix_frames(root: Path) -> None:
    for split in ("training", "testing"):
        for folder in ("tex", "normal", "rgb"):
            rename(root / split / folder, lambda name: f"frame_{name}")


def name_cameras(root: Path) -> None:
    for split in ("training", "testing"):
        for folder in (root / split / "rgb").iterdir():
            rename(folder, lambda name: f"image_c_{name[1:]}")


def lead_with_the_split(root: Path) -> None:
    for folder in ("intrinisc", "pose"):
        rename(root / folder, lambda name: f"0_train_{name}")


def invert_extrinsics(root: Path) -> None:
    (root / "extrinsic").mkdir()
    for path in (root / "pose").iterdir():
        np.savetxt(root / "extrinsic" / path.name, np.linalg.inv(np.loadtxt(path)))
        # Where both are there, world-to-camera counts.
        path.write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")


def one_file_of_intrinsics(name: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        shutil.move(root / "intrinisc/0000.txt", root / name)
        shutil.rmtree(root / "intrinisc")

    return apply


def body_beside_the_frames(root: Path) -> None:
    for name in ("canonical.obj", "uvmapping.obj", "skinning_weight.txt", "transform_tpose.json"):
        shutil.copy(root / name, root / "testing" / name)
        shutil.move(root / name, root / "training" / name)


def unpack(root: Path) -> None:
    for split in ("training", "testing"):
        zipfile.ZipFile(root / split / "transform.zip").extractall(root / split / "transform")
        (root / split / "transform.zip").unlink()


def zip_with_folder(root: Path) -> None:
    for split in ("training", "testing"):
        path = root / split / "transform.zip"
        names = zipfile.ZipFile(path).namelist()
        old = {n: zipfile.ZipFile(path).read(n).decode() for n in names}
        moved = {f"transform/{n}": text for n, text in old.items()}
        rewrite_zip(path, {**dict.fromkeys(names), **moved, "__MACOSX/._000000.json": "", "transform/": ""})


def number_videos_from_one(root: Path) -> None:
    for split in ("training", "testing"):
        for path in sorted((root / split / "rgb_video").iterdir(), reverse=True):
            path.rename(path.with_name(f"{int(path.stem) + 1:03d}.avi"))


def folders_by_camera(root: Path) -> None:
    for split in ("training", "testing"):
        old, new = root / split / "rgb", root / split / "new"
        for path in old.glob("*/*.png"):
            place = new / f"cam{path.stem}_1080p" / f"{path.parent.name}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
        shutil.rmtree(old)
        new.rename(old)


def two_numbers(root: Path) -> None:
    for split in ("training", "testing"):
        rename(root / split / "rgb_video", lambda name: name.replace(".avi", "_1080p_take2.avi"))


SPELLINGS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "intrinsic": ("raw", lambda root: (root / "intrinisc").rename(root / "intrinsic")),
    "intrinsics": ("extracted", lambda root: (root / "intrinisc").rename(root / "intrinsics")),
    "intrinsic.txt": ("raw", one_file_of_intrinsics("intrinsic.txt")),
    "intrinsics.txt": ("extracted", one_file_of_intrinsics("intrinsics.txt")),
    "extrinsic": ("raw", invert_extrinsics),
    "frame_000000.png": ("extracted", prefix_frames),
    "image_c_000.png": ("extracted", name_cameras),
    "0_train_0000.txt": ("raw", lead_with_the_split),
    "calibration in the split": (
        "raw",
        lambda root: [shutil.copytree(root / n, root / "training" / n) for n in ("intrinisc", "pose")],
    ),
    "body beside the frames": ("extracted", body_beside_the_frames),
    "unpacked transforms": ("raw", unpack),
    "a folder in the archive": ("raw", zip_with_folder),
    "videos numbered from one": ("raw", number_videos_from_one),
    "rgb/cam0000_1080p/000000.png": ("extracted", folders_by_camera),
    "000_1080p_take2.avi": ("raw", two_numbers),
    "normal.avi": (
        "raw",
        lambda root: rename(root / "training", lambda n: n.replace("_modifysmpluv0.1_smooth3e-2", "")),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling(copies: Callable[[str], Path], spelling: str) -> None:
    layout, change = SPELLINGS[spelling]
    root = copies(layout)
    before = Capture.open(root).split("training").cameras
    change(root)
    capture = Capture.open(root)
    for name in ("training", "testing"):
        check_split(capture.split(name), name)
    for old, new in zip(before, capture.split("training").cameras, strict=True):
        np.testing.assert_allclose(new.T_world_camera, old.T_world_camera, atol=1e-7)
        np.testing.assert_allclose(new.K, old.K)
    assert capture.rig.weights.shape == (32, 5)
    assert examine(root).defects == []


def test_jpegs(copies: Callable[[str], Path]) -> None:
    root = copies("extracted")
    for path in [*root.glob("*/rgb/*/*.png"), *root.glob("*/tex/*.png")]:
        Image.open(path).save(path.with_suffix(".jpg"), quality=98)
        path.unlink()
    split = Capture.open(root).split("testing")
    assert np.abs(split.image(1, 2).astype(int) - picture("testing", 1, 2, SIZE)).mean() < 12
    assert examine(root).defects == []


def test_frames_that_do_not_begin_at_zero(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    new = {f"{f + 20:06d}.json": json.dumps(transform(f)) for f in range(4)}
    rewrite_zip(root / "training/transform.zip", {**{f"{f:06d}.json": None for f in range(4)}, **new})
    split = Capture.open(root).split("training")
    assert split.frames == [20, 21, 22, 23]
    np.testing.assert_array_equal(split.image(1, 0), picture("training", 1, 0, SIZE))
    np.testing.assert_allclose(split.pose(1).translation, transform(1)["translation"][0], atol=1e-7)


def test_a_motion_without_pictures(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    shutil.rmtree(root / "testing/rgb_video")
    split = Capture.open(root).split("testing")
    assert (split.files.kind, split.cameras, split.num_frames) == ("poses", (), 4)
    np.testing.assert_array_equal(split.texture(2), texture(2, 32))
    report = examine(root)
    assert report.defects == [] and "transforms alone, no pictures" in report.notes[0]


def test_some_cameras_extracted(copies: Callable[[str], Path]) -> None:
    root = copies("extracted")
    for path in root.glob("*/rgb/*/0001.png"):
        path.unlink()
    split = Capture.open(root).split("training")
    assert [c.name for c in split.cameras] == ["0000", "0002"]
    np.testing.assert_array_equal(split.image(1, 1), picture("training", 1, 2, SIZE))
    report = examine(root)
    assert report.defects == [] and "cameras 1 are calibrated, but" in report.notes[0]


def test_what_does_not_exist_is_named(whole: dict[str, Path]) -> None:
    capture = Capture.open(whole["raw"])
    with pytest.raises(ValueError, match="no split 'train'; it has: testing, training"):
        capture.split("train")
    split = capture.split("training")
    for call, line in (
        (lambda: split.image(4, 0), r"frames 4..5 do not exist; expected a range within 0..4"),
        (lambda: split.image(0, 3), "no camera at position 3; there are 3, from 0"),
        (lambda: split.pose(-1), "no frame at position -1; there are 4, from 0"),
        (lambda: split.textures(3, 2), r"frames 3..2 do not exist"),
    ):
        with pytest.raises(ValueError, match=line):
            call()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Capture.open(whole["raw"] / "nowhere")
    with pytest.raises(ValueError, match=r"no capture \(it holds"):
        Capture.open(whole["raw"] / "pose")


def test_numbers_of_names() -> None:
    names = {"000012.png": 12, "frame_000012.png": 12, "0_train_0012.txt": 12, "image_c_003.jpg": 3, "000.avi": 0}
    assert {name: number_of(name) for name in names} == names
    assert number_of("README.md") is None
    assert match_numbers([0, 2], [0, 1, 2]) == {0: 0, 2: 2}
    assert match_numbers([1, 2, 3], [0, 1, 2]) == {1: 0, 2: 1, 3: 2}
    assert match_numbers([0, 5], [0, 1, 2]) == {0: 0}


def test_the_number_that_tells_files_apart() -> None:
    assert by_number("d", ["cam1_1080p.avi", "cam12_1080p.avi"], (".avi",)) == {
        1: "cam1_1080p.avi",
        12: "cam12_1080p.avi",
    }
    files = by_number("d", [f"take2_{f:04d}_half1.json" for f in (3, 4)], (".json",))
    assert list(files) == [3, 4] and series_of("d", files).name(17) == "take2_0017_half1.json"
    assert by_number("d", ["v1.5", "v1.6", "notes"], ("",)) == {5: "v1.5", 6: "v1.6"}
    flat = [f"c{c}_f{f}.png" for c in range(2) for f in range(2)]
    with pytest.raises(
        ValueError, match=r"d: c0_f0.png and c1_f0.png are both number 0: give each a number of its own"
    ):
        by_number("d", flat, (".png",))


def test_a_split_may_have_a_dot_in_its_name(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    (root / "training").rename(root / "dance.slow")
    capture = Capture.open(root)
    assert capture.splits == ("dance.slow", "testing")
    assert capture.split("dance.slow").num_frames == 4


def test_a_missing_picture_in_folders_by_camera(copies: Callable[[str], Path]) -> None:
    root = copies("extracted")
    folders_by_camera(root)
    (root / "training/rgb/cam0001_1080p/000002.png").unlink()
    (line,) = examine(root).defects
    assert "training/rgb/cam0001_1080p/000002.png: missing; expected one picture per camera and frame" in line


def test_facts(whole: dict[str, Path]) -> None:
    facts = describe(Capture.open(whole["raw"]))
    assert (facts.num_vertices, facts.num_faces, facts.num_uv, facts.num_joints) == (32, 60, 180, 5)
    split = facts.splits[1]
    assert (split.name, split.num_frames, split.num_cameras, split.resolutions) == ("training", 4, 3, (SIZE,))
    assert (split.codec, split.fps, split.seconds, split.texture_size) == ("ffv1", 25.0, 0.16, (32, 32))
    assert split.num_bytes == sum(p.stat().st_size for p in (whole["raw"] / "training").rglob("*") if p.is_file())
    assert "3 cameras of 32x48 ffv1" in str(facts)
    extracted = describe(Capture.open(whole["extracted"])).splits[1]
    assert (extracted.codec, extracted.seconds) == ("png", None)


@pytest.fixture(params=["memory", "http", "http with ranges"])
def url(request: pytest.FixtureRequest, whole: dict[str, Path]) -> Iterator[tuple[str, str]]:
    layout = "extracted" if request.param == "http" else "raw"
    if request.param == "memory":
        memory = fsspec.filesystem("memory")
        memory.put(f"{whole[layout]}/", "/capture/", recursive=True)
        yield "memory://capture", layout
        memory.rm("/capture", recursive=True)
        return
    handler = Ranges if "ranges" in request.param else Quiet
    root = str(whole[layout])
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: handler(*a, directory=root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", layout
    server.shutdown()
    server.server_close()


def test_a_capture_behind_a_url(url: tuple[str, str]) -> None:
    address, layout = url
    capture = Capture.open(address)
    assert capture.splits == ("testing", "training")
    split = pickle.loads(pickle.dumps(capture.split("training")))
    assert split.files.kind == layout
    check_split(split, "training")
    assert capture.rig.vertices.shape == (32, 3)
    assert examine(address).defects == []
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_splits(f"{address}/nowhere")
