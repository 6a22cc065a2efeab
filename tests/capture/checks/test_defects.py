"""Broken captures: each has its one line, which names the file and says what was expected."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_capture import JOINTS, rewrite_zip, transform, write_picture, write_tiny_capture, write_video

from na_ray.capture.checks.defects import examine
from na_ray.capture.dataset import Capture

Break = Callable[[Path], None]
FRAME = "000001.json"


def edit(name: str, pattern: str, by: str, count: int = 1) -> Break:
    """Replace in a text file."""

    def apply(root: Path) -> None:
        text = (root / name).read_text()
        changed = re.sub(pattern, by, text, count=count, flags=re.MULTILINE)
        assert changed != text
        (root / name).write_text(changed)

    return apply


def write(name: str, data: bytes | str) -> Break:
    return lambda root: (root / name).write_bytes(data.encode() if isinstance(data, str) else data) and None


def remove(name: str) -> Break:
    def apply(root: Path) -> None:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return apply


def matrix(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Break:
    return lambda root: np.savetxt(root / name, change(np.loadtxt(root / name)), fmt="%.8f")


def scaled(values: np.ndarray, rows: slice, columns: slice, factor: float) -> np.ndarray:
    values[rows, columns] *= factor
    return values


def frame(key: str, value: object) -> Break:
    """Give frame 1 of the training split another value; None removes the key."""

    def apply(root: Path) -> None:
        values = {**transform(1), key: value}
        if value is None:
            del values[key]
        rewrite_zip(root / "training" / "transform.zip", {FRAME: json.dumps(values)})

    return apply


def cut(name: str, share: float) -> Break:
    def apply(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return apply


def video(name: str, frames: int, height: int = 32, width: int = 48) -> Break:
    return lambda root: write_video(root / name, [np.full((height, width, 3), 9 * f, np.uint8) for f in range(frames)])


def flip_bits(root: Path) -> None:
    """Damage the second frame of a video, whose first, middle and last frames stay whole."""
    path = root / "training/rgb_video/001.avi"
    frames = [np.random.default_rng(f).integers(0, 255, (32, 48, 3), np.uint8) for f in range(4)]
    write_video(path, frames, "mjpeg")
    data = bytearray(path.read_bytes())
    # The first mention of the stream is in the header's index.
    starts = [m.start() for m in re.finditer(b"00dc", data)][1:5]
    data[starts[1] + 1500 : starts[1] + 1600] = b"\xff\xd0" * 50
    path.write_bytes(data)


def invert_poses(root: Path) -> None:
    for path in (root / "pose").iterdir():
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)), fmt="%.8f")


def in_millimetres(root: Path) -> None:
    edit("canonical.obj", r"^v (\S+) (\S+) (\S+)", r"v \g<1>e3 \g<2>e3 \g<3>e3", 0)(root)


def escape(root: Path) -> None:
    rewrite_zip(root / "training/transform.zip", {"../../outside.txt": "gotcha"})


def damage_archive(root: Path) -> None:
    path = root / "training/transform.zip"
    rewrite_zip(path, {FRAME: json.dumps(transform(1))})
    data = bytearray(path.read_bytes())
    at = data.index(b'"rotation"')
    data[at : at + 10] = b"0123456789"
    path.write_bytes(data)


NOT_A_ROTATION = (0.9 * np.eye(3)).tolist()
JOINT_FIRST = np.repeat(np.eye(4)[None], JOINTS, axis=0).tolist()
NOT_FINITE = np.full((JOINTS, 3), np.nan).tolist()
SHEARED = np.repeat(np.diag([1.0, 2.0, 1.0, 1.0])[:, :, None], JOINTS, axis=2).tolist()

RAW: dict[str, tuple[Break, str]] = {
    "no body mesh": (remove("canonical.obj"), "canonical.obj is missing"),
    "no weights": (remove("skinning_weight.txt"), "skinning_weight.txt is missing"),
    "word among coordinates": (edit("canonical.obj", r"^v \S+", "v oops"), "canonical.obj, line 1: 'v oops"),
    "quads": (edit("canonical.obj", r"^f .*$", "f 1 2 3 4"), "expected three corners"),
    "vertex that is not there": (edit("canonical.obj", r"^f \d+", "f 999"), "names vertices that do not exist"),
    "vertex not finite": (edit("canonical.obj", r"^v \S+", "v nan"), "vertex 1 is not finite"),
    "mesh in millimetres": (in_millimetres, "expected metres, below 10"),
    "no UV indices": (edit("uvmapping.obj", r"/\d+", "", 0), "faces have no texture coordinates"),
    "UV that is not there": (
        edit("uvmapping.obj", r"^f (\d+)/\d+", r"f \1/9999"),
        "names texture coordinates that do not",
    ),
    "UV off the map": (edit("uvmapping.obj", r"^vt \S+", "vt 1.5"), "expected u and v from 0 to 1"),
    "face missing in the UV map": (edit("uvmapping.obj", r"^f .*\n", ""), "59 faces, but"),
    "faces in another order": (edit("uvmapping.obj", r"^f (\S+) (\S+) (\S+)", r"f \2 \3 \1"), "face 0 has vertices"),
    "a vertex without weights": (edit("skinning_weight.txt", r"\A.*\n", ""), "31 rows, but"),
    "a weight too few": (edit("skinning_weight.txt", r"^(.*) \S+\n\Z", r"\1\n"), "4 numbers; expected 5"),
    "word among weights": (edit("skinning_weight.txt", r"^0\.0", "zero"), "is no row of numbers"),
    "weights do not sum to one": (edit("skinning_weight.txt", r"^1\.0", "0.7"), "weights sum to 0.7"),
    "weight not finite": (edit("skinning_weight.txt", r"^1\.0\S*", "nan"), "a weight that is not finite"),
    "negative weight": (edit("skinning_weight.txt", r"\A1.000000 0.000000", "1.5 -0.5"), "expected none below 0"),
    "rest pose without joints": (write("transform_tpose.json", "{}"), "key 'joints_RT' is missing"),
    "rest pose of another body": (
        write("transform_tpose.json", json.dumps({"joints_RT": np.zeros((4, 4, 3)).tolist()})),
        "joints_RT has 3 joints, but",
    ),
    "no intrinsics": (remove("intrinisc"), "no intrinsic calibration"),
    "no extrinsics": (remove("pose"), "no pose calibration"),
    "a camera without intrinsics": (remove("intrinisc/0001.txt"), "expected an intrinsics file numbered 1"),
    "a camera without extrinsics": (remove("pose/0001.txt"), "001.avi has no extrinsics"),
    "intrinsics of another shape": (write("intrinisc/0001.txt", "50 50 24 16\n"), "1 rows of 4 numbers"),
    "word among intrinsics": (edit("intrinisc/0001.txt", r"\A\S+", "fx"), "intrinisc/0001.txt, line 1: 'fx"),
    "negative focal length": (edit("intrinisc/0001.txt", r"\A", "-"), "expected positive numbers of pixels"),
    "intrinsics of another resolution": (
        matrix("intrinisc/0001.txt", lambda m: scaled(m, slice(0, 2), slice(None), 4)),
        "lies outside the 32x48 picture",
    ),
    "camera with scale": (matrix("pose/0001.txt", lambda m: scaled(m, slice(0, 3), slice(0, 3), 2)), "is no rotation"),
    "mirrored camera": (matrix("pose/0001.txt", lambda m: scaled(m, slice(0, 3), slice(0, 1), -1)), "mirrors"),
    "extrinsics not finite": (edit("pose/0001.txt", r"\A\S+", "inf"), "numbers that are not finite"),
    "extrinsics inverted": (invert_poses, "they seem to be the inverse: name the folder extrinsic/"),
    "two files of one camera": (write("pose/1.txt", "1"), "0001.txt and 1.txt are both number 1"),
    "missing video": (remove("training/rgb_video/001.avi"), "rgb_video/ has no video of it"),
    "no videos at all": (remove("training/rgb_video"), "no pictures; expected rgb_video/ or rgb/"),
    "empty folder of videos": (
        lambda root: [p.unlink() for p in (root / "training/rgb_video").iterdir()] and None,
        "no videos; expected one a camera",
    ),
    "truncated video": (cut("training/rgb_video/001.avi", 0.9), "truncated: "),
    "empty video": (write("training/rgb_video/001.avi", ""), "001.avi: no readable video"),
    "garbage for a video": (write("training/rgb_video/001.avi", b"\1\2\3" * 999), "001.avi: no readable video"),
    "video too short": (video("training/rgb_video/001.avi", 3), "3 frames; expected 4, as transform.zip has"),
    "video too long": (video("training/rgb_video/001.avi", 5), "5 frames; expected 4, as transform.zip has"),
    "video of another size": (video("training/rgb_video/001.avi", 4, 36, 52), "pictures of 36x52; expected 32x48"),
    "no texture video": (remove("training/tex_modifysmpluv0.1_smooth3e-2.avi"), "no texture maps"),
    "texture video too short": (video("training/tex_modifysmpluv0.1_smooth3e-2.avi", 2), "2 frames; expected 4"),
    "no transforms": (remove("training/transform.zip"), "no transforms; expected transform.zip"),
    "garbage for an archive": (write("training/transform.zip", "PK"), "no readable zip archive"),
    "damaged archive": (damage_archive, "the archive is damaged"),
    "archive that leaves its folder": (escape, "'../../outside.txt' leaves its folder"),
    "frame named unlike others": (
        lambda root: rewrite_zip(root / "training/transform.zip", {FRAME: None, "1.json": "{}"}),
        "1.json stands out; expected 000001.json",
    ),
    "unreadable JSON": (
        lambda root: rewrite_zip(root / "training/transform.zip", {FRAME: '{"joints": [1,'}),
        "000001.json: unreadable JSON",
    ),
    "JSON that is a list": (
        lambda root: rewrite_zip(root / "training/transform.zip", {FRAME: "[]"}),
        "expected a JSON object, found a list",
    ),
    "key missing": (frame("translation", None), "000001.json: key 'translation' is missing"),
    "3x1 rotation": (frame("rotation", [[0.0], [0.1], [0.0]]), "rotation is 3x1; expected 3x3"),
    "rotation with scale": (frame("rotation", NOT_A_ROTATION), "rotation is no rotation"),
    "joints_RT with the joint first": (frame("joints_RT", JOINT_FIRST), "joints_RT is 5x4x4; expected 4x4x5"),
    "joints_RT not rigid": (frame("joints_RT", SHEARED), "joints_RT of joint 0 is no rigid motion"),
    "joints not finite": (frame("joints", NOT_FINITE), "joints holds numbers that are not finite"),
    "ragged array": (frame("joints", [[1, 2, 3], [4]]), "joints is no array of numbers"),
    "another number of joints": (frame("joints", transform(1)["joints"][:4]), "joints_RT is 4x4x5; expected 4x4x4"),
    "pose of odd length": (frame("pose", [0.0] * 13), "pose holds 13 numbers; expected 15"),
}

EXTRACTED: dict[str, tuple[Break, str]] = {
    "frame without pictures": (remove("training/rgb/000002"), "rgb/000002: no pictures of this frame; expected 3"),
    "picture missing": (remove("training/rgb/000002/0001.png"), "rgb/000002/0001.png: missing"),
    "picture cut short": (cut("training/rgb/000002/0001.png", 0.8), "rgb/000002/0001.png: the picture is cut short"),
    "no picture but garbage": (write("training/rgb/000002/0001.png", "garbage"), "0001.png: no readable picture"),
    "picture of another size": (
        lambda root: write_picture(root / "training/rgb/000002/0001.png", np.zeros((30, 40, 3), np.uint8)),
        "rgb/000002/0001.png: pictures of 30x40; expected 32x48",
    ),
    "a camera more in one frame": (
        lambda root: write_picture(root / "training/rgb/000002/0007.png", np.zeros((32, 48, 3), np.uint8)),
        "pictures that the first frame has not: 0007.png",
    ),
    "texture map missing": (remove("training/tex/000003.png"), "tex/000003.png: missing"),
    "transform missing a joint": (
        write("training/transform/000001.json", json.dumps({**transform(1), "joints": [[0, 0, 0]]})),
        "joints_RT is 4x4x5; expected 4x4x1",
    ),
}


def check_line(root: Path, expected: str, thorough: bool = False) -> None:
    lines = examine(str(root), thorough).defects
    assert len(lines) == 1, lines
    assert expected in lines[0]
    assert "\n" not in lines[0] and len(lines[0]) < 360
    print(lines[0].replace(str(root), "CAPTURE"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    one_split = {
        layout: write_tiny_capture(folder / layout, layout=layout, splits=("training",))
        for layout in ("raw", "extracted")
    }
    return one_split


@pytest.fixture
def copies(whole: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda layout: shutil.copytree(whole[layout], tmp_path / "capture")


@pytest.mark.parametrize("name", RAW)
def test_a_broken_raw_capture_gets_one_line(copies: Callable[[str], Path], name: str) -> None:
    root = copies("raw")
    RAW[name][0](root)
    check_line(root, RAW[name][1])


@pytest.mark.parametrize("name", EXTRACTED)
def test_a_broken_extracted_capture_gets_one_line(copies: Callable[[str], Path], name: str) -> None:
    root = copies("extracted")
    EXTRACTED[name][0](root)
    check_line(root, EXTRACTED[name][1])


def test_whole_captures_have_no_defect(whole: dict[str, Path]) -> None:
    for root in whole.values():
        report = examine(str(root), thorough=True)
        assert (report.defects, report.notes) == ([], [])


def test_damage_within_a_video_is_found_by_a_thorough_look(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    flip_bits(root)
    check_line(root, "001.avi: frame 1 is damaged", thorough=True)


def test_a_path_that_is_no_capture(tmp_path: Path) -> None:
    (line,) = examine(str(tmp_path / "nowhere")).defects
    assert "nowhere: no such folder" in line
    (tmp_path / "notes.txt").write_text("hello")
    (line,) = examine(str(tmp_path)).defects
    assert "no capture (it holds notes.txt)" in line


def test_a_pose_without_the_root_is_noted_not_refused(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    short = {f"{f:06d}.json": json.dumps({**transform(f), "pose": transform(f)["pose"][0][3:]}) for f in range(4)}
    rewrite_zip(root / "training/transform.zip", short)
    report = examine(str(root))
    assert report.defects == []
    assert len(report.notes) == 1 and "pose holds 12 numbers in 4 frames: three zeros" in report.notes[0]
    pose = Capture.open(str(root)).split("training").pose(2).pose
    assert pose is not None
    np.testing.assert_allclose(pose, [0, 0, 0, *transform(2)["pose"][0][3:]], atol=1e-7)


def test_missing_normal_maps_and_gaps_are_notes(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    remove("training/normal_modifysmpluv0.1_smooth3e-2.avi")(root)
    gaps = {"000003.json": None, "000009.json": json.dumps(transform(3))}
    rewrite_zip(root / "training/transform.zip", gaps)
    report = examine(str(root))
    assert report.defects == []
    assert ["gaps" in report.notes[0], "no normal maps" in report.notes[1]] == [True, True]


def test_many_broken_frames_make_one_line(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    rewrite_zip(root / "training/transform.zip", {f"{f:06d}.json": "{}" for f in range(4)})
    check_line(root, "(and 3 more like it)")


def test_two_defects_get_two_lines(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    remove("training/rgb_video/001.avi")(root)
    frame("rotation", NOT_A_ROTATION)(root)
    assert len(examine(str(root)).defects) == 2


def test_there_are_enough_kinds() -> None:
    assert len(RAW) + len(EXTRACTED) >= 28


def test_reading_what_is_broken_raises_the_same_line(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    frame("rotation", [[0.0], [0.1], [0.0]])(root)
    cut("training/rgb_video/001.avi", 0.9)(root)
    split = Capture.open(str(root)).split("training")
    with pytest.raises(ValueError, match=r"000001.json: rotation is 3x1; expected 3x3"):
        split.pose(1)
    with pytest.raises(ValueError, match=r"001.avi: truncated: "):
        split.image(0, 1)
