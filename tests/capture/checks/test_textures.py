"""What the texture stage cannot train on: each has its one line before the first step, from the real preflight."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from na_ray.capture.checks.defects import examine
from na_ray.capture.checks.textures import LOOKS, examine_training, flow_name, read_flow
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.run.data.sequences import SequenceDataset
from na_ray.run.train.preflight import preflight
from tests.make_capture import write_picture, write_tiny_capture, write_video

FRAMES = 6
Break = Callable[[Path], None]


def remove(name: str) -> Break:
    def apply(root: Path) -> None:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return apply


def cut(name: str, share: float) -> Break:
    def apply(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return apply


def video(name: str, frames: int, shape: tuple[int, int] = (32, 32)) -> Break:
    return lambda root: write_video(root / name, [np.full((*shape, 3), 9 * f, np.uint8) for f in range(frames)])


def pictures(name: str, shape: tuple[int, int], frames: tuple[int, ...] = tuple(range(FRAMES))) -> Break:
    def apply(root: Path) -> None:
        for f in frames:
            write_picture(root / "training" / name / f"{f:06d}.png", np.full((*shape, 3), 9 * f, np.uint8))

    return apply


def both(*breaks: Break) -> Break:
    return lambda root: [apply(root) for apply in breaks] and None


def empty(name: str) -> Break:
    return lambda root: [path.unlink() for path in (root / name).iterdir()] and None


def flow(number: int, **arrays: np.ndarray) -> Break:
    """Write one flow file; without arrays, one that is none."""

    def apply(root: Path) -> None:
        path = root / "flow" / flow_name(number)
        np.savez(path, **arrays) if arrays else path.write_bytes(b"PK nothing")

    return apply


SQUARE, MAP = np.zeros((2, 32, 32)), np.ones((32, 32))
NAN = np.full((2, 32, 32), np.nan)

RAW: dict[str, tuple[Break, str]] = {
    "no normal video": (remove("training/normal.avi"), "training: no normal maps; expected normal*.avi or"),
    "no texture video": (
        remove("training/tex.avi"),
        "training: no texture maps; expected the texture maps as tex*.avi",
    ),
    "texture video too short": (video("training/tex.avi", 4), "tex.avi: 4 frames; expected 6, as transform.zip has"),
    "normal video too long": (
        video("training/normal.avi", 7),
        "normal.avi: 7 frames; expected 6, as transform.zip has",
    ),
    "texture video ends early": (cut("training/tex.avi", 0.9), "tex.avi: truncated: 5 of 6 frames are there"),
    "normal video ends early": (cut("training/normal.avi", 0.9), "normal.avi: truncated: 5 of 6 frames are there"),
    "a last frame cut short": (cut("training/tex.avi", 0.95), "tex.avi: frame 5 is damaged"),
    "an empty file for a video": (cut("training/tex.avi", 0), "tex.avi: no readable video"),
    "texture video not square": (
        video("training/tex.avi", FRAMES, (32, 48)),
        "training: the texture map of frame 0 is 32x48; expected a square one, as the UV atlas is",
    ),
    "normal video not square": (
        video("training/normal.avi", FRAMES, (48, 32)),
        "training: the normal map of frame 0 is 48x32; expected a square one, as the UV atlas is",
    ),
}

EXTRACTED: dict[str, tuple[Break, str]] = {
    "no folder of normal maps": (remove("training/normal"), "training: no normal maps; expected normal*.avi or"),
    "no folder of texture maps": (remove("training/tex"), "training: no texture maps; expected the texture maps as"),
    "an empty folder": (empty("training/tex"), "training/tex: the folder is empty; expected one tex picture a frame"),
    "a missing texture frame": (
        remove("training/tex/000003.png"),
        "tex/000003.png: missing; expected one picture per frame",
    ),
    "a missing normal frame": (
        remove("training/normal/000003.png"),
        "normal/000003.png: missing; expected one picture",
    ),
    "a picture cut short": (cut("training/tex/000003.png", 0.7), "tex/000003.png: the picture is cut short"),
    "a texture frame of another size": (
        pictures("tex", (24, 24), (3,)),
        "tex/000003.png: pictures of 24x24; expected 32x32, as most have",
    ),
    "a normal frame of another size": (
        pictures("normal", (32, 40), (5,)),
        "normal/000005.png: pictures of 32x40; expected 32x32, as most have",
    ),
    "texture maps not square": (
        pictures("tex", (32, 48)),
        "the texture map of frame 0 is 32x48; expected a square one",
    ),
}

FLOWS: dict[str, tuple[Break, str]] = {
    "no folder of flows": (remove("flow"), "flow: no such folder with files in it: correct texture.flow_folder"),
    "a missing flow": (remove("flow/000003.npz"), "flow/000003.npz: missing; expected a flow file for every frame but"),
    "flows of few frames": (
        both(*(remove(f"flow/{f:06d}.npz") for f in range(2, 6))),
        "flow/000002.npz: missing; expected a flow file for every frame but the first: write it (and 3 more like it)",
    ),
    "no flow but garbage": (flow(2), "flow/000002.npz: no readable archive of numbers; expected an .npz of flow and"),
    "an array too few": (
        flow(2, flow=SQUARE),
        "000002.npz: holds flow; expected flow and confidence",
    ),
    "flow with the channel last": (
        flow(2, flow=np.zeros((32, 32, 2)), confidence=MAP),
        "000002.npz: flow (32, 32, 2) and confidence (32, 32); expected (2, h, w) and (h, w)",
    ),
    "a confidence of another size": (
        flow(2, flow=SQUARE, confidence=MAP[1:]),
        "000002.npz: flow (2, 32, 32) and confidence (31, 32); expected (2, h, w)",
    ),
    "flow not square": (
        flow(2, flow=SQUARE[:, :16], confidence=MAP[:16]),
        "000002.npz: flow of 16x32; expected it square, as the maps",
    ),
    "flow not finite": (flow(2, flow=NAN, confidence=MAP), "000002.npz: numbers that are not finite"),
    "flow of words": (
        flow(2, flow=np.full((2, 32, 32), "x"), confidence=MAP),
        "000002.npz: flow of <U1 and confidence of float64; expected numbers",
    ),
    "flow that is pickled": (
        flow(2, flow=np.full((2, 32, 32), None), confidence=MAP),
        "000002.npz: no readable archive of numbers",
    ),
}

KNOBS: dict[str, tuple[dict[str, object], str]] = {
    "fewer frames than a window": (
        {"data.frames": "0..3"},
        "training: 3 frames to train on; expected 4 or more, a window of texture.first_window: choose more by",
    ),
    "frames that are no range": ({"data.frames": "0,2,4,5"}, "training frames must be one range, as '10..200'"),
    "a frame that does not exist": ({"data.frames": "0..9"}, "but there are 6, numbered from 0"),
    "a split that does not exist": ({"data.train_split": "walk"}, "no split 'walk'; it has: training"),
    "too little memory": (
        {"data.memory_mb": 1, "vid2vid.resolution": (256, 256)},
        "data.memory_mb is 1: 4 windows of 6 frames at 256 px take 9 MB and decoding 5 MB; raise it or lower",
    ),
}


def experiment_of(root: Path, **knobs: object) -> Experiment:
    changes = {
        "capture": str(root),
        "stages": ("texture",),
        "vid2vid.resolution": (32, 32),
        "vid2vid.num_layers": 4,
        "vid2vid.num_filters": 4,
        "vid2vid.max_num_filters": 8,
        "vid2vid.max_discriminator_filters": 8,
        "vid2vid.temporal_filters": 4,
        "vid2vid.image_filters": 4,
        "vid2vid.flow_filters": 4,
        "vid2vid.flow_blocks": 1,
    }
    return override(Experiment(), changes | knobs)


def check_line(experiment: Experiment, tmp_path: Path, expected: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        preflight(experiment, tmp_path)
    line = str(caught.value)
    assert expected in line and "\n" not in line and len(line) < 360, line
    print(line.replace(str(tmp_path / "capture"), "CAPTURE"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A capture in both layouts, and with flow files."""
    folder = tmp_path_factory.mktemp("whole")
    made = {}
    for layout in ("raw", "extracted"):
        root = made[layout] = folder / layout
        write_tiny_capture(root, FRAMES, 1, (16, 16), layout, splits=("training",))
    for name in ("tex", "normal"):
        next((made["raw"] / "training").glob(f"{name}*.avi")).rename(made["raw"] / "training" / f"{name}.avi")
    (made["raw"] / "flow").mkdir()
    for f in range(1, FRAMES):
        np.savez(made["raw"] / "flow" / flow_name(f), flow=SQUARE, confidence=MAP)
    return made


@pytest.fixture
def copies(whole: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda layout: shutil.copytree(whole[layout], tmp_path / "capture")


@pytest.mark.parametrize("name", RAW)
def test_broken_videos_get_one_line(copies: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    root = copies("raw")
    RAW[name][0](root)
    check_line(experiment_of(root), tmp_path, RAW[name][1])


@pytest.mark.parametrize("name", EXTRACTED)
def test_broken_pictures_get_one_line(copies: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    root = copies("extracted")
    EXTRACTED[name][0](root)
    check_line(experiment_of(root), tmp_path, EXTRACTED[name][1])


@pytest.mark.parametrize("name", FLOWS)
def test_broken_flows_get_one_line(copies: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    root = copies("raw")
    FLOWS[name][0](root)
    knobs = {"texture.flow_target": "file", "texture.flow_folder": str(root / "flow")}
    check_line(experiment_of(root, **knobs), tmp_path, FLOWS[name][1])


@pytest.mark.parametrize("name", KNOBS)
def test_knobs_that_do_not_fit_get_one_line(copies: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    knobs, expected = KNOBS[name]
    check_line(experiment_of(copies("raw"), **knobs), tmp_path, expected)


def test_videos_that_differ_from_the_frames_and_from_each_other(copies: Callable[[str], Path]) -> None:
    root = copies("raw")
    both(video("training/tex.avi", 4), video("training/normal.avi", 5))(root)
    lines = examine(root).defects
    assert [line.split("/")[-1] for line in lines] == [
        "tex.avi: 4 frames; expected 6, as transform.zip has: encode or copy it again",
        "normal.avi: 5 frames; expected 6, as transform.zip has: encode or copy it again",
    ]


def test_whole_captures_have_no_defect(whole: dict[str, Path]) -> None:
    knobs = {"texture.flow_target": "file", "texture.flow_folder": str(whole["raw"] / "flow")}
    for root in whole.values():
        experiment = experiment_of(root, **knobs)
        report = examine_training(Capture.open(root).split("training"), range(FRAMES), experiment.texture)
        assert (examine(root).defects, report.defects, report.notes) == ([], [], [])
        assert SequenceDataset.make(Capture.open(root), experiment).frames == range(FRAMES)


def test_both_kinds_of_maps_missing_are_two_lines(copies: Callable[[str], Path]) -> None:
    root = copies("extracted")
    both(remove("training/tex"), remove("training/normal"))(root)
    split = Capture.open(root).split("training")
    assert len(examine_training(split, range(FRAMES), experiment_of(root).texture).defects) == 2


def test_a_look_at_flows_is_cheap_and_evenly_spread(tmp_path: Path) -> None:
    count = 5 * LOOKS
    root = write_tiny_capture(tmp_path / "long", count, 1, (8, 8), splits=("training",), texture_size=8)
    (tmp_path / "flow").mkdir()
    for f in range(1, count):
        (tmp_path / "flow" / flow_name(f)).write_bytes(b"no flow")
    knobs = {"texture.flow_target": "file", "texture.flow_folder": str(tmp_path / "flow")}
    report = examine_training(Capture.open(root).split("training"), range(count), experiment_of(root, **knobs).texture)
    (line,) = report.defects
    assert "and 19 more like it" in line


def test_a_flow_is_read_as_it_was_written(tmp_path: Path) -> None:
    x, y, confidence = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float16)
    np.savez_compressed(tmp_path / flow_name(12), flow=[x, y], confidence=confidence > 0)
    assert flow_name(12) == "000012.npz"
    values = read_flow(str(tmp_path / "000012.npz"))
    assert values.dtype == np.float32
    assert np.array_equal(values, np.stack([x, y, confidence > 0]).astype(np.float32))
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(ValueError, match="holds neither array"):
        read_flow(str(tmp_path / "empty.npz"))
