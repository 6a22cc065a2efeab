"""The order of the stream: complete, a function of the seed, independent of workers, resumable in the middle."""

import pickle
import subprocess
import sys
import threading
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment, override
from na_ray.models.nerf.renderer import Nerf
from na_ray.render import texture_map
from na_ray.run.data import frames as frames_module
from na_ray.run.data.frames import SPARE_RAYS, FrameDataset, FrameSampler, Row
from na_ray.run.data.loader import MOST_KNOWN, StepLoader, digest_of, recall
from na_ray.run.train.nerf.step import to_batch
from tests.make_capture import write_tiny_capture, write_video

FRAMES = 11


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream") / "tiny"
    write_tiny_capture(folder, frames=FRAMES, cameras=3, resolution=(32, 40))
    return folder


def plan_of(capture: Path, **knobs: object) -> FrameDataset:
    changes = {
        "capture": str(capture),
        "data.train_views": "all",
        "data.validation_views": "0",
        "data.resolution": None,
        "data.rays_per_view": 20,
        "data.shard_frames": 4,
        "data.shuffle_shards": 2,
    }
    return FrameDataset.make(Capture.open(str(capture)), override(Experiment(), changes | knobs))


def take(dataset: FrameDataset, slots: tuple[int, ...], num_slots: int, steps: int, first: int = 0) -> list[list[Row]]:
    return list(islice(StepLoader(FrameSampler(dataset, slots, num_slots, first), distributed=False), steps))


def same(a: Row, b: Row) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("views_per_frame", [1, 2, 3])
def test_an_epoch_holds_every_frame_of_every_view(capture: Path, views_per_frame: int) -> None:
    dataset = plan_of(capture, **{"data.views_per_frame": views_per_frame})
    for epoch in (0, 1):
        seen = Counter((f, v) for s in dataset.shards(epoch) for f in range(s.start, s.stop) for v in s.views)
        assert set(seen) == {(f, v) for f in range(FRAMES) for v in range(3)}
        if 3 % views_per_frame == 0:
            assert set(seen.values()) == {1}


def test_epochs_differ_and_a_seed_repeats_them(capture: Path) -> None:
    dataset, again, other = plan_of(capture), plan_of(capture), plan_of(capture, **{"train.seed": 3})
    assert dataset.shards(0) == again.shards(0)
    assert dataset.shards(0) != dataset.shards(1)
    assert dataset.shards(0) != other.shards(0)


def test_a_row_shows_its_frame_and_view(capture: Path) -> None:
    split = Capture.open(str(capture)).split("training")
    dataset = plan_of(capture, **{"data.views_per_frame": 2, "data.pixel_jitter": False})
    for (row,) in take(dataset, (0,), 1, 12):
        frame = int(row["frame"])
        assert np.array_equal(row["texture"], split.texture(frame))
        assert np.array_equal(row["joints_RT"], split.pose(frame).joints_RT)
        assert row["colors"].shape == (2, int(np.ceil(SPARE_RAYS * 20)), 3)
        for i, view in enumerate(row["views"]):
            camera, image = split.cameras[view], split.image(frame, int(view)).astype(np.float32)
            pixels, _ = camera.project(row["origins"][i] + 2.0 * row["directions"][i])
            x, y = np.rint(pixels).astype(int).T
            assert np.abs(pixels - np.rint(pixels)).max() < 1e-3
            assert np.allclose(row["colors"][i], image[y, x] / 255 * 2 - 1, atol=1e-6)


def test_rays_are_drawn_anew_in_every_epoch(capture: Path) -> None:
    rows = [row for (row,) in take(plan_of(capture), (0,), 1, 2 * FRAMES * 3)]
    twice = [r for r in rows if int(r["frame"]) == 5 and list(r["views"]) == [1]]
    assert len(twice) == 2
    assert not np.array_equal(twice[0]["directions"], twice[1]["directions"])


@pytest.mark.parametrize("first", [1, 6, 40])
def test_a_resumed_stream_continues_where_it_stopped(capture: Path, first: int) -> None:
    dataset = plan_of(capture)
    whole = take(dataset, (0, 1), 2, first + 5)
    rest = take(dataset, (0, 1), 2, 5, first=first)
    assert all(same(a, b) for x, y in zip(whole[first:], rest, strict=True) for a, b in zip(x, y, strict=True))


def test_workers_share_the_rows_of_one(capture: Path) -> None:
    dataset = plan_of(capture)
    one = take(dataset, (0, 1, 2, 3), 4, 9)
    first, second = take(dataset, (0, 2), 4, 9), take(dataset, (1, 3), 4, 9)
    for rows, a, b in zip(one, first, second, strict=True):
        assert all(same(x, y) for x, y in zip(rows, [a[0], b[0], a[1], b[1]], strict=True))


def test_ray_data_delivers_what_the_thread_does(capture: Path, ray_cluster: None) -> None:
    dataset = plan_of(capture)
    local = take(dataset, (0, 1), 2, 30, first=3)
    streamed = list(islice(StepLoader(FrameSampler(dataset, (0, 1), 2, 3), distributed=True), 30))
    assert all(same(a, b) for x, y in zip(local, streamed, strict=True) for a, b in zip(x, y, strict=True))


def test_a_bad_video_stops_the_stream_or_is_counted(capture: Path, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(capture, broken)
    dataset = plan_of(broken)  # opened while it is sound
    skipping = plan_of(broken, **{"data.on_bad_shard": "skip"})
    assert len(skipping.split.cameras) == len(dataset.split.cameras) == 3
    video = sorted((broken / "training" / "rgb_video").iterdir())[1]
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(ValueError, match=video.name):
        take(dataset, (0,), 1, 40)
    loader = StepLoader(FrameSampler(skipping, (0,), 1, 0), distributed=False)
    seen = {int(v) for (row,) in islice(loader, 40) for v in row["views"]}
    assert seen == {0, 2} and loader.skipped > 0


def test_a_capture_that_is_gone_ends_the_stream(capture: Path, tmp_path: Path) -> None:
    import shutil

    gone = tmp_path / "gone"
    shutil.copytree(capture, gone)
    dataset = plan_of(gone, **{"data.on_bad_shard": "skip"})
    assert dataset.split.cameras and dataset.rig is not None
    shutil.rmtree(gone / "training" / "rgb_video")
    with pytest.raises(ValueError, match="no shard of"):
        take(dataset, (0,), 1, 1)


def test_selections_that_do_not_exist_are_refused(capture: Path) -> None:
    with pytest.raises(ValueError, match="number 7, but there are 3"):
        plan_of(capture, **{"data.train_views": "0,7"})
    with pytest.raises(ValueError, match="one range"):
        plan_of(capture, **{"data.frames": "0,4"})


def pixels_of(row: Row, dataset: FrameDataset, view: int) -> np.ndarray:
    """(x, y) of each of a view's rays, from its direction."""
    camera = dataset.split.cameras[int(row["views"][view])]
    points = camera.center + row["directions"][view].astype(np.float64)
    return camera.project(points)[0]


def test_training_rays_go_through_uniform_points_of_their_pixels(capture: Path) -> None:
    dataset, centered, original = (
        plan_of(capture, **knobs, **{"data.rays_per_view": 400})
        for knobs in ({}, {"data.pixel_jitter": False}, {"nerf.parity": True})
    )
    shard = dataset.shards(0)[0]
    offsets = []
    for row, still, parity in zip(dataset.decode(shard), centered.decode(shard), original.decode(shard), strict=True):
        for view in range(len(row["views"])):
            whole = pixels_of(still, dataset, view)
            np.testing.assert_allclose(whole, whole.round(), atol=1e-4)
            np.testing.assert_allclose(pixels_of(parity, dataset, view), whole, atol=1e-4)
            offsets.append(pixels_of(row, dataset, view) - whole.round())
        # The same pixels, and so the same colors.
        assert np.array_equal(row["colors"], still["colors"])
    values = np.concatenate(offsets)
    assert np.abs(values).max() <= 0.5 + 1e-4 and len(values) > 500
    # Uniform: mean 0, variance 1/12, x and y independent; four standard errors.
    assert np.abs(values.mean(axis=0)).max() < 4 * np.sqrt(1 / 12 / len(values))
    np.testing.assert_allclose(values.var(axis=0), 1 / 12, rtol=0.2)
    assert abs(np.corrcoef(values.T)[0, 1]) < 4 / np.sqrt(len(values))
    assert all(same(a, b) for a, b in zip(dataset.decode(shard), dataset.decode(shard), strict=True))


def test_the_stored_map_reaches_a_field_that_starts_from_it(capture: Path) -> None:
    small = {"data.texture_size": 16}
    sizes = [
        plan_of(capture, **small, **knobs).decode(plan_of(capture).shards(0)[0])[0]["texture"].shape[0]
        for knobs in (
            {},
            {"nerf.mesh_residual": True, "nerf.mesh_prior": "soft"},
            {"nerf.mesh_residual": True},
        )
    ]
    stored = plan_of(capture).split.texture(0).shape[0]
    assert sizes == [16, 16, stored] and stored > 16


@pytest.mark.parametrize("side", [None, 32, 16])
def test_maps_that_are_no_squares_are_the_same_in_training_and_rendering(tmp_path: Path, side: int | None) -> None:
    folder = write_tiny_capture(tmp_path / "wide", frames=2, cameras=2, resolution=(32, 40))
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 256, (32, 64, 3)).astype(np.uint8) for _ in range(2)]
    write_video(folder / "training" / "tex_modifysmpluv0.1_smooth3e-2.avi", maps)
    knobs = {"data.texture_size": side, "nerf.hidden": 8, "nerf.encoder_width": 4, "data.shard_frames": 2}
    dataset = plan_of(folder, **knobs)
    nerf = Nerf(dataset.experiment.nerf, Body.from_rig(dataset.rig), dataset.experiment.data).eval()
    actor = TrainedAvatar(nerf, nerf.body, dataset.experiment)
    for row in dataset.decode(dataset.shards(0)[0]):
        frame = int(row["frame"])
        assert np.array_equal(dataset.split.texture(frame), maps[frame])
        batch = to_batch(row, nerf.body, dataset.experiment)
        assert batch.texture.shape[1] * 2 == batch.texture.shape[2]
        torch.testing.assert_close(texture_map(actor, maps[frame]), batch.texture)
        assert row["texture"].nbytes <= dataset.row_bytes()


def test_what_a_decoding_process_remembers_outlives_a_segment(capture: Path) -> None:
    dataset = plan_of(capture)
    digest = digest_of(dataset)
    # Each segment brings a copy of its own.
    first, second = (recall(digest, pickle.loads(pickle.dumps(dataset))) for _ in range(2))
    assert first is second
    shard = next(s for s in dataset.shards(0) if s.stop - s.start > 1)
    before = frames_module._near.cache_info()
    for copy in (first, second):
        assert isinstance(copy, FrameDataset) and len(copy.decode(shard)) == shard.stop - shard.start
    after = frames_module._near.cache_info()
    looks = (shard.stop - shard.start) * len(shard.views)
    assert (after.hits - before.hits, after.misses - before.misses) == (looks, looks)
    # Another run's dataset is another one, and only a few are kept.
    others = [plan_of(capture, **{"train.seed": seed}) for seed in range(9, 9 + MOST_KNOWN)]
    assert len({digest, *map(digest_of, others)}) == 1 + MOST_KNOWN
    assert all(recall(digest_of(other), other) is other for other in others)
    assert recall(digest, dataset) is dataset, "the oldest was given up"


def test_a_program_may_end_while_a_thread_decodes() -> None:
    """Python ends threads in the middle of what they do, and a library in C++ then aborts the process."""
    program = """
import sys
import torch
from na_ray.run.data.loader import _threaded

class Slow:
    def prefetch(self, shard): pass
    def decode(self, shard):
        a = torch.ones(1000, 1000)
        for _ in range(20):
            a = a @ a / 1000
        return [{"shard": shard}]

rows = _threaded(Slow(), list(range(9)))
next(rows)
sys.exit(3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_stream_that_is_left_early_leaves_no_thread(capture: Path) -> None:
    dataset = plan_of(capture)
    before = threading.active_count()
    rows = iter(StepLoader(FrameSampler(dataset, (0,), 1, 0), distributed=False))
    next(rows)
    assert threading.active_count() == before + 1
    del rows
    assert threading.active_count() == before
