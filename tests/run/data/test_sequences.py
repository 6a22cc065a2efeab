"""Windows of the texture stage: their schedule, their cap, their order, and one crop for all that is in one."""

import dataclasses
import shutil
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from na_ray.capture.checks.textures import flow_name
from na_ray.capture.dataset import Capture
from na_ray.capture.image import resized
from na_ray.config import Experiment, override
from na_ray.run.data.frames import Row
from na_ray.run.data.loader import StepLoader
from na_ray.run.data.sequences import (
    Clip,
    MapCrop,
    SequenceDataset,
    SequenceSampler,
    epoch_steps,
    num_steps,
    num_windows,
    window_length,
)
from tests.make_capture import write_picture, write_tiny_capture, write_video

FRAMES = 20
SIDE = 32
STORED = 48
# parity/vid2vid/schedule.json: frames of a window in the epochs 0..79.
PUBLISHED = [4, 8] + [16] * 78


def pattern(frame: int, size: int = STORED) -> np.ndarray:
    """A map (size, size, 3) that tells where it is looked at: R is x, G is y (5 a pixel of 48), B the frame."""
    ramp = np.rint(np.arange(size) * 5 * STORED / size)
    x, y = np.broadcast_to(ramp[None], (size, size)), np.broadcast_to(ramp[:, None], (size, size))
    return np.stack([x, y, np.full_like(x, 10 * frame)], axis=-1).astype(np.uint8)


def write_maps(split: Path, layout: str, normal_size: int = STORED) -> None:
    """Replace the maps of a split: textures are `pattern`, normal maps the same with R and G exchanged."""
    textures = [pattern(f) for f in range(FRAMES)]
    normals = [pattern(f, normal_size)[..., [1, 0, 2]] for f in range(FRAMES)]
    for name, maps in (("tex", textures), ("normal", normals)):
        if layout == "extracted":
            shutil.rmtree(split / name)
            for f, image in enumerate(maps):
                write_picture(split / name / f"{f:06d}.png", image)
        else:
            next(split.glob(f"{name}*.avi")).unlink()
            write_video(split / f"{name}.avi", maps)


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same maps in videos and in folders of pictures."""
    made = {}
    for layout in ("raw", "extracted"):
        folder = tmp_path_factory.mktemp("windows") / layout
        write_tiny_capture(folder, FRAMES, 1, (16, 16), layout, splits=("training",))
        write_maps(folder / "training", layout)
        made[layout] = folder
    return made


def plan_of(capture: Path, **knobs: object) -> SequenceDataset:
    changes = {
        "capture": str(capture),
        "stages": ("texture",),
        "vid2vid.resolution": (SIDE, SIDE),
        "vid2vid.num_layers": 4,
        "texture.global_batch": 4,
        "texture.held_out": 0,  # all frames are trained on
    }
    return SequenceDataset.make(Capture.open(capture), override(Experiment(), changes | knobs))


@pytest.fixture
def dataset(captures: dict[str, Path]) -> SequenceDataset:
    return plan_of(captures["raw"])


def take(
    dataset: SequenceDataset, slots: tuple[int, ...], steps: int, first: int = 0, ray: bool = False
) -> list[list[Row]]:
    order = SequenceSampler(dataset, slots, num_windows(dataset.experiment), first)
    return list(islice(StepLoader(order, distributed=ray), steps))


def same(a: Row, b: Row) -> bool:
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def equal(some: list[list[Row]], others: list[list[Row]]) -> bool:
    return all(same(a, b) for x, y in zip(some, others, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize(("batch", "frames"), [(4, 1000), (8, 999), (4, 17)])
def test_the_schedule_is_the_published_one(captures: dict[str, Path], batch: int, frames: int) -> None:
    knobs = {"texture.global_batch": batch, "train.num_workers": 2}
    dataset = dataclasses.replace(plan_of(captures["raw"], **knobs), frames=range(frames))
    assert num_windows(dataset.experiment) == batch
    steps = epoch_steps(dataset)
    assert num_steps(dataset) == 80 * steps
    for epoch, length in enumerate(PUBLISHED):
        assert window_length(dataset, epoch * steps) == window_length(dataset, (epoch + 1) * steps - 1) == length


@pytest.mark.parametrize(("first", "cap"), [(4, 16), (4, 13), (3, 16), (5, 5), (1, 100)])
def test_the_cap_is_never_exceeded(dataset: SequenceDataset, first: int, cap: int) -> None:
    knobs = {"texture.first_window": first, "texture.max_window": cap, "texture.double_every": 7}
    dataset = dataclasses.replace(dataset, experiment=override(dataset.experiment, knobs), frames=range(1000))
    lengths = [window_length(dataset, step) for step in range(num_steps(dataset))]
    assert len(lengths) == 80 * 250
    assert lengths[0] == first and max(lengths) == lengths[-1] == dataset.longest() == cap
    assert lengths == sorted(lengths), "a window never becomes shorter"
    assert lengths[7:14] == [min(2 * first, cap)] * 7
    assert window_length(dataset, 10**12) == cap


def test_windows_fit_a_short_split(dataset: SequenceDataset) -> None:
    short = dataclasses.replace(dataset, frames=range(3, 12))
    assert short.longest() == 9
    assert {short.draw(Clip(10**6, slot))[0] for slot in range(20)} == {range(3, 12)}


def test_a_window_is_a_function_of_seed_step_and_lane(captures: dict[str, Path], dataset: SequenceDataset) -> None:
    again, other = plan_of(captures["raw"]), plan_of(captures["raw"], **{"train.seed": 3})
    clips = [Clip(step, slot) for step in range(40) for slot in range(4)]
    drawn = [dataset.draw(clip) for clip in clips]
    assert drawn == [again.draw(clip) for clip in clips]
    assert len({(crop.scale, crop.top, crop.left) for _, crop in drawn}) == len(clips), "each has its own"
    assert not {crop.scale for _, crop in drawn} & {other.draw(clip)[1].scale for clip in clips}
    assert not {crop.scale for _, crop in drawn} & {dataset.draw(clip, attempt=1)[1].scale for clip in clips}


def test_starts_and_crops_are_uniform(dataset: SequenceDataset) -> None:
    always_four = override(dataset.experiment, {"texture.double_every": 10**6})
    dataset = dataclasses.replace(dataset, experiment=always_four, frames=range(5, 13))
    frames, crops = zip(*(dataset.draw(Clip(step, 0)) for step in range(4000)), strict=True)
    starts = np.bincount([f.start for f in frames], minlength=10)
    assert starts[:5].sum() == 0 and len(starts) == 10, "windows lie within the frames"
    assert np.abs(starts[5:] - 800).max() < 120, starts  # five deviations
    for values, low, high in (
        ([c.scale for c in crops], 1, 1.2),
        ([c.top for c in crops], 0, 1),
        ([c.left for c in crops], 0, 1),
    ):
        counts, _ = np.histogram(values, 10, (low, high))
        assert counts.sum() == 4000 and np.abs(counts - 400).max() < 100, counts


def test_an_epoch_has_as_many_windows_as_frames(dataset: SequenceDataset) -> None:
    assert epoch_steps(dataset) == FRAMES // 4
    assert num_steps(dataset) == 80 * epoch_steps(dataset)
    assert num_steps(dataclasses.replace(dataset, experiment=override(dataset.experiment, {"texture.steps": 7}))) == 7


def seen_from(crop: MapCrop, size: int) -> np.ndarray:
    """The source coordinate (pixels of a map of that size) at each column of the result, from the crop's definition."""
    enlarged, _ = crop.enlarged(size, size)
    offset = round(crop.left * (enlarged - crop.side))
    return (np.arange(crop.side) + 0.5 + offset) * size / enlarged - 0.5


@pytest.mark.parametrize("normal_size", [STORED, 2 * STORED])
def test_a_window_shares_one_crop(captures: dict[str, Path], tmp_path: Path, normal_size: int) -> None:
    shutil.copytree(captures["raw"], tmp_path / "capture")
    write_maps(tmp_path / "capture" / "training", "raw", normal_size)
    dataset = plan_of(tmp_path / "capture", **{"texture.max_scale": 1.5})
    for step in range(6):
        clip = Clip(step, 1)
        frames, crop = dataset.draw(clip)
        (row,) = dataset.decode(clip)
        assert row["images"].shape == row["labels"].shape == (len(frames), SIDE, SIDE, 3)
        assert list(row["frames"]) == list(frames)
        inner = slice(2, -2)  # a map's edge bends the ramp
        expected = 5 * seen_from(crop, STORED)[inner]
        for t, frame in enumerate(frames):
            image, label = row["images"][t].astype(float), row["labels"][t].astype(float)
            assert (image[..., 2] == 10 * frame).all() and (label[..., 2] == 10 * frame).all()
            assert np.abs(image[inner, inner, 0] - expected).max() <= 1.1, "the crop is the one that was drawn"
            assert np.abs(label[inner, inner, [1, 0]] - image[inner, inner, [0, 1]]).max() <= (
                0 if normal_size == STORED else 3
            )
            assert np.array_equal(row["images"][t][..., :2], row["images"][0][..., :2]), "and the same over the window"


def test_without_augmentation_a_window_is_the_map(captures: dict[str, Path]) -> None:
    (row,) = plan_of(captures["raw"], **{"texture.max_scale": 1, "vid2vid.resolution": (96, 96)}).decode(Clip(0, 0))
    for frame, image in zip(row["frames"], row["images"], strict=True):
        assert np.array_equal(image, resized(pattern(int(frame)), (96, 96)))


def test_pictures_and_videos_give_the_same(captures: dict[str, Path]) -> None:
    videos, pictures = (take(plan_of(captures[layout]), (0, 1), 4) for layout in ("raw", "extracted"))
    assert equal(videos, pictures)


def test_workers_share_the_windows_of_one(dataset: SequenceDataset, captures: dict[str, Path]) -> None:
    two = plan_of(captures["raw"], **{"train.num_workers": 2})
    one = take(dataset, (0, 1, 2, 3), 7)
    first, second = take(two, (0, 2), 7), take(two, (1, 3), 7)
    for rows, a, b in zip(one, first, second, strict=True):
        assert all(same(x, y) for x, y in zip(rows, [a[0], b[0], a[1], b[1]], strict=True))
    assert [len(rows[0]["frames"]) for rows in one] == [4] * 5 + [8] * 2


@pytest.mark.parametrize("first", [1, 5, 37])
def test_a_resumed_stream_continues_where_it_stopped(dataset: SequenceDataset, first: int) -> None:
    whole = take(dataset, (1,), first + 3)
    assert equal(whole[first:], take(dataset, (1,), 3, first=first))


def test_ray_data_delivers_what_the_thread_does(dataset: SequenceDataset, ray_cluster: None) -> None:
    assert equal(take(dataset, (0, 3), 8, first=2), take(dataset, (0, 3), 8, first=2, ray=True))


def flows(folder: Path, size: int) -> Path:
    """Flow files that tell where they are looked at: x is the column, y minus the row; the confidence is even."""
    folder.mkdir()
    y, x = np.mgrid[:size, :size].astype(np.float32)
    for frame in range(1, FRAMES):
        confidence = np.full((size, size), frame / FRAMES, np.float32)
        np.savez(folder / flow_name(frame), flow=np.stack([x, -y]), confidence=confidence)
    return folder


@pytest.mark.parametrize("size", [24, 48])
def test_flow_from_files_grows_with_its_map(captures: dict[str, Path], tmp_path: Path, size: int) -> None:
    knobs = {"texture.flow_target": "file", "texture.flow_folder": str(flows(tmp_path / "flow", size))}
    dataset = plan_of(captures["raw"], **knobs)
    for step in range(3):
        frames, crop = dataset.draw(Clip(step, 0))
        (row,) = dataset.decode(Clip(step, 0))
        assert row["flows"].shape == (len(frames), 2, SIDE, SIDE) and row["flows"].dtype == np.float32
        assert not row["flows"][0].any() and not row["confidences"][0].any(), "the first frame has none before it"
        enlarged, _ = crop.enlarged(STORED, STORED)
        inner = slice(2, -2)
        expected = seen_from(crop, size)[inner] * enlarged / size
        assert np.abs(row["flows"][1, 0, inner, inner] - expected).max() < 0.1
        rows = seen_from(dataclasses.replace(crop, left=crop.top), size)[inner] * enlarged / size
        assert np.abs(row["flows"][1, 1, inner, inner] + rows[:, None]).max() < 0.1
        assert np.allclose(row["confidences"][1:, 0, 0], [f / FRAMES for f in frames[1:]])


def test_no_flow_is_read_that_nobody_asked_for(dataset: SequenceDataset) -> None:
    (row,) = dataset.decode(Clip(0, 0))
    assert row.keys() == {"frames", "labels", "images", "skipped"}


def test_a_frame_that_vanishes_stops_the_stream_or_is_drawn_around(captures: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(captures["extracted"], tmp_path / "capture")
    dataset = plan_of(tmp_path / "capture")
    skipping = plan_of(tmp_path / "capture", **{"data.on_bad_shard": "skip"})
    whole = take(dataset, (0, 1, 2, 3), 5)
    gone = tmp_path / "capture" / "training" / "tex" / "000009.png"
    gone.unlink()
    with pytest.raises(FileNotFoundError, match="000009.png: no such file"):
        take(dataset, (0, 1, 2, 3), 5)
    loader = StepLoader(SequenceSampler(skipping, (0, 1, 2, 3), 4, 0), distributed=False)
    drawn = list(islice(loader, 5))
    pairs = [(a, b) for x, y in zip(whole, drawn, strict=True) for a, b in zip(x, y, strict=True)]
    hurt = [a for a, _ in pairs if 9 in a["frames"]]
    assert hurt and loader.skipped >= len(hurt)
    assert all(9 not in b["frames"] for _, b in pairs)
    assert all(same(a, b) for a, b in pairs if 9 not in a["frames"]), "the others stay as they were"
    shutil.rmtree(tmp_path / "capture" / "training" / "tex")
    with pytest.raises(ValueError, match="none of 16 windows could be read"):
        take(skipping, (0,), 1)


def test_windows_in_flight_stay_within_the_bound(captures: dict[str, Path]) -> None:
    knobs = {"data.memory_mb": 2, "vid2vid.resolution": (64, 64), "texture.global_batch": 2}
    dataset = plan_of(captures["raw"], **knobs)
    held, left = dataset.room(2)
    assert held + left == 2 * 2**20 and held == 2 * dataset.shard_bytes() >= 2 * 16 * 64 * 64 * 6
    rows = iter(StepLoader(SequenceSampler(dataset, (0, 1), 2, 100), distributed=False))
    next(rows)
    tracemalloc.start()
    for _ in range(6):
        next(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 3 * 16 * 64 * 64 * 6 < peak < 2 * 2**20
    with pytest.raises(ValueError, match=r"data.memory_mb is 2: 4 windows of 16 frames at 64 px take 2 MB"):
        StepLoader(SequenceSampler(dataset, (0, 1, 2, 3), 4, 0), distributed=False)


def test_training_frames_are_one_range(captures: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="one range"):
        plan_of(captures["raw"], **{"data.frames": "0,4,8,9,10"})
    chosen = plan_of(captures["raw"], **{"data.frames": "4..12"})
    assert {f for (row,) in take(chosen, (0,), 20) for f in row["frames"]} == set(range(4, 12))


def test_frames_that_decide_are_in_no_window(captures: dict[str, Path]) -> None:
    chosen = plan_of(captures["raw"], **{"texture.held_out": 0.3, "data.frames": "2..20", "texture.double_every": 5})
    assert chosen.selection.validation_frames == range(15, 20)
    assert {f for (row,) in take(chosen, (0,), 40) for f in row["frames"]} == set(range(2, 15))
