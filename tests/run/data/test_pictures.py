"""The splats' rows: what they show, that nothing is missing, and that neither workers nor resuming change them."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture
from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.data.frames import Row
from na_ray.run.data.loader import StepLoader
from na_ray.run.data.pictures import PictureDataset, PictureSampler, picture_cameras, small_picture
from tests.make_capture import write_tiny_capture, write_video

FRAMES = 9


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(
        tmp_path_factory.mktemp("pictures") / "tiny", frames=FRAMES, cameras=4, resolution=(48, 60)
    )


def dataset_of(capture: Path, **knobs: object) -> PictureDataset:
    changes = {
        "capture": str(capture),
        "data.train_views": "all",
        "data.validation_views": "0",
        "data.shard_frames": 4,
        "data.shuffle_shards": 2,
        "splats.size": 60,
        "splats.texels": 32,
        "splats.widths": (8, 8),
        "splats.views_per_frame": 2,
        "splats.global_batch": 4,
    }
    return PictureDataset.make(Capture.open(str(capture)), override(Experiment(), changes | knobs))  # type: ignore[return-value]


def take(dataset: PictureDataset, pictures: tuple[int, ...], total: int, steps: int, first: int = 0) -> list[list[Row]]:
    return list(islice(StepLoader(PictureSampler(dataset, pictures, total, first), distributed=False), steps))


def same(a: Row, b: Row) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def averaged(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each small pixel: the mean of what it covers, pixel by pixel; 0..255."""
    down, across = image.shape[0] / height, image.shape[1] / width
    result = np.zeros((height, width, image.shape[2]))

    def parts(start: float, end: float) -> list[tuple[int, float]]:
        cells = range(int(start + 1e-9), int(np.ceil(end - 1e-9)))
        return [(i, min(end, i + 1) - max(start, i)) for i in cells]

    for row in range(height):
        for column in range(width):
            total = 0.0
            for i, a in parts(row * down, (row + 1) * down):
                for j, b in parts(column * across, (column + 1) * across):
                    result[row, column] += a * b * image[i, j].astype(float)
                    total += a * b
            result[row, column] /= total
    return result


@pytest.mark.parametrize("size", [60, 40, 30])
def test_a_row_shows_its_windows_of_the_video(capture: Path, size: int) -> None:
    split = Capture.open(str(capture)).split("training")
    dataset = dataset_of(capture, **{"splats.size": size})
    inside = Atlas(Body.from_rig(dataset.rig), 32).inside.numpy()
    height = round(48 * size / 60)
    small: dict[tuple[int, int], np.ndarray] = {}
    windows = set()
    for rows in take(dataset, (0, 1, 2, 3), 4, 4):
        for row in rows:
            frame, pose = int(row["frame"]), split.pose(int(row["frame"]))
            assert np.array_equal(row["joints_RT"], pose.joints_RT)
            assert np.array_equal(row["translation"], pose.translation.reshape(3))
            assert np.array_equal(row["texture"][inside], split.texture(frame)[inside]), "32 texels: stored and wanted"
            assert row["pictures"].dtype == np.uint8
            for view, (x, y, w, h), picture in zip(
                row["views"].tolist(), row["windows"].tolist(), row["pictures"], strict=True
            ):
                assert 0 <= x < x + w <= size and 0 <= y < y + h <= height
                windows.add((x, y, w, h))
                if (frame, view) not in small:
                    small[frame, view] = averaged(split.image(frame, view), height, size)
                expected = small[frame, view][y : y + h, x : x + w]
                assert np.abs(picture[:h, :w] - expected).max() <= 0.5 + 1e-3
                assert (picture[h:] == 0).all() and (picture[:, w:] == 0).all()
                assert picture.shape[0] % 8 == 0 and picture.shape[1] % 8 == 0
    assert len(windows) > 3 and max(w for _, _, w, _ in windows) < size


@pytest.mark.parametrize("skew", [0.0, 25.0])
def test_windows_hold_the_body_and_what_is_near_it(tmp_path: Path, skew: float) -> None:
    """Every vertex, moved by the reach to any side, projects into the window or beside the picture."""
    capture = write_tiny_capture(tmp_path / "skewed", frames=4, cameras=4, resolution=(48, 60))
    for path in (capture / "intrinisc").iterdir():
        K = np.loadtxt(path)
        K[0, 1] = skew
        np.savetxt(path, K, fmt="%.8f")
    split = Capture.open(str(capture)).split("training")
    dataset = dataset_of(capture)
    cameras = picture_cameras(dataset)
    rng = np.random.default_rng(0)
    sides = rng.normal(size=(60, 3))
    sides *= 0.12 / np.linalg.norm(sides, axis=1, keepdims=True)
    for (row,) in take(dataset, (0, 1), 2, 6):
        pose = split.pose(int(row["frame"]))
        blended = np.einsum("vj,jrc->vrc", split.rig.weights, pose.joints_RT)
        homogeneous = np.pad(split.rig.vertices, ((0, 0), (0, 1)), constant_values=1)
        vertices = np.einsum("vrc,vc->vr", blended[:, :3], homogeneous) @ pose.rotation + pose.translation.reshape(3)
        points = (vertices[:, None] + sides).reshape(-1, 3)
        for view, (x, y, w, h) in zip(row["views"].tolist(), row["windows"].tolist(), strict=True):
            seen, depth = cameras[view].project(points)
            assert (depth > 0).all()
            seen = seen[(seen > -0.5).all(1) & (seen < [59.5, 47.5]).all(1)]
            assert (seen > [x - 1, y - 1]).all() and (seen < [x + w, y + h]).all()
            assert w < 50, "it is not the whole picture"


def test_pictures_with_alpha_stand_on_the_background(capture: Path) -> None:
    """Of pictures (h, w, 4): the area average first, then the background under it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    camera = Camera("c", np.eye(3), np.eye(4), 20, 30)
    for seen in (camera, camera.resized(10, 15), camera.resized(8, 12)):
        found = small_picture(image, seen, (1.0, -1.0, 0.0))
        values = averaged(image, seen.height, seen.width)
        alpha = values[..., 3:] / 255
        expected = values[..., :3] * alpha + np.array([255, 0, 127.5]) * (1 - alpha)
        assert found.dtype == np.uint8 and np.abs(found - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("views", [1, 2, 4])
def test_an_epoch_shows_every_picture_once(capture: Path, views: int) -> None:
    dataset = dataset_of(
        capture, **{"splats.views_per_frame": views, "splats.global_batch": 4, "data.views_per_frame": 3}
    )
    for epoch in (0, 1):
        seen = Counter((f, v) for s in dataset.shards(epoch) for f in range(s.start, s.stop) for v in s.views)
        assert set(seen) == {(f, v) for f in range(FRAMES) for v in range(4)}
        assert set(seen.values()) == {1}


def shown(rows: list[Row]) -> Counter:
    """(frame, view, window, what the window shows) of the rows of a step."""
    return Counter(
        (int(row["frame"]), view, tuple(window), picture[: window[3], : window[2]].tobytes())
        for row in rows
        for view, window, picture in zip(row["views"].tolist(), row["windows"].tolist(), row["pictures"], strict=True)
    )


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_workers_share_the_pictures_of_one(capture: Path, workers: int, views: int) -> None:
    dataset = dataset_of(capture, **{"splats.views_per_frame": views})
    steps = 7
    one = take(dataset, (0, 1, 2, 3), 4, steps)
    parts = [take(dataset, tuple(range(rank, 4, workers)), 4, steps) for rank in range(workers)]
    for step in range(steps):
        assert sum((shown(part[step]) for part in parts), Counter()) == shown(one[step])
        assert sum(len(set(row["views"].tolist())) for row in one[step]) == 4, "no view comes twice"
        assert len(one[step]) == 4 // views, "views of a frame come together"


def test_all_that_an_epoch_has_reaches_the_steps(capture: Path) -> None:
    steps = take(dataset_of(capture), (0, 1, 2, 3), 4, 3 * FRAMES)
    seen = Counter((int(row["frame"]), view) for rows in steps for row in rows for view in row["views"].tolist())
    assert set(seen) == {(f, v) for f in range(FRAMES) for v in range(4)}
    assert max(seen.values()) - min(seen.values()) <= 3, "three epochs, of which slots may be a group ahead"


def test_pictures_of_a_step_are_of_as_few_frames_as_can_be(capture: Path) -> None:
    """Two workers, two frames of two views: each has a frame of its own, and decodes and draws its pose once."""
    dataset = dataset_of(capture)
    for rank in range(2):
        order = PictureSampler(dataset, tuple(range(rank, 4, 2)), 4, 0)
        assert order.slots == (rank,)
    assert PictureSampler(dataset, (2,), 4, 0).slots == (0,) and PictureSampler(dataset, (3,), 4, 0).slots == (1,)


@pytest.mark.parametrize("first", [1, 5, 23])
def test_a_resumed_stream_continues_where_it_stopped(capture: Path, first: int) -> None:
    dataset = dataset_of(capture)
    for pictures in ((0, 1, 2, 3), (1, 3)):
        whole = take(dataset, pictures, 4, first + 4)
        rest = take(dataset, pictures, 4, 4, first=first)
        assert all(same(a, b) for x, y in zip(whole[first:], rest, strict=True) for a, b in zip(x, y, strict=True))


def test_too_little_memory_is_told_by_a_line(capture: Path) -> None:
    dataset = dataset_of(capture, **{"data.memory_mb": 1, "data.shard_frames": 64})
    with pytest.raises(UserError, match=r"data.memory_mb is 1: .* raise it or lower data.shard_frames") as told:
        StepLoader(PictureSampler(dataset, (0, 1, 2, 3), 4, 0), distributed=False)
    assert "\n" not in str(told.value)


def test_the_bound_on_memory_holds(capture: Path) -> None:
    """Also where the cameras' pictures are of several sizes: that of the largest counts."""
    dataset = dataset_of(capture)
    largest = max(sum(value.nbytes for value in row.values()) for rows in take(dataset, (0, 1), 2, 8) for row in rows)
    assert largest <= dataset.row_bytes() < 4 * largest


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Camera 2 is a larger one, and 3 looks away."""
    folder = write_tiny_capture(tmp_path / "mixed", frames=4, cameras=4, resolution=(24, 30))
    K = np.loadtxt(folder / "intrinisc" / "0002.txt")
    K[:2, :2] *= 3
    K[:2, 2] = (K[:2, 2] + 0.5) * 3 - 0.5
    np.savetxt(folder / "intrinisc" / "0002.txt", K, fmt="%.8f")
    T = np.loadtxt(folder / "pose" / "0003.txt")
    T[:3, :3] = T[:3, :3] @ np.diag([-1, 1, -1])
    np.savetxt(folder / "pose" / "0003.txt", T, fmt="%.8f")
    rng = np.random.default_rng(0)
    for split in ("training", "testing"):
        pictures = [rng.integers(0, 255, (72, 90, 3), dtype=np.uint8) for _ in range(4)]
        write_video(folder / split / "rgb_video" / "002.avi", pictures)
    return folder


def test_cameras_of_other_sizes_and_those_that_see_nothing(mixed: Path) -> None:
    knobs = {"splats.size": 60, "splats.views_per_frame": 4}
    dataset = dataset_of(mixed, **knobs)
    split = dataset.split
    assert [(c.height, c.width) for c in picture_cameras(dataset)] == [(24, 30), (24, 30), (48, 60), (24, 30)]
    largest = 0
    for (row,) in take(dataset, (0, 1, 2, 3), 4, 4):
        largest = max(largest, sum(value.nbytes for value in row.values()))
        by_view = dict(
            zip(row["views"].tolist(), zip(row["windows"].tolist(), row["pictures"], strict=True), strict=True)
        )
        (x, y, w, h), picture = by_view[2]
        expected = averaged(split.image(int(row["frame"]), 2), 48, 60)[y : y + h, x : x + w]
        assert w > 10 and np.abs(picture[:h, :w] - expected).max() <= 0.5 + 1e-3
        assert by_view[3][0] == [0, 0, 30, 24], "the whole picture, in which the body is not"
    assert largest <= dataset.row_bytes()


def test_a_texture_map_is_averaged_within_the_charts(tmp_path: Path) -> None:
    folder = write_tiny_capture(tmp_path / "fine", frames=2, cameras=3, resolution=(24, 30), texture_size=128)
    dataset = dataset_of(folder, **{"data.shard_frames": 2})
    texture = dataset.split.texture(0)
    (rows,) = take(dataset, (0, 1), 2, 1)
    # A texel well within a chart: a plain mean. Chart 9 begins at (1, 1) of 8 x 8; its texels are 4 x 4 large ones.
    texture = dataset.split.texture(int(rows[0]["frame"]))
    row, column = 32 - 1 - 5, 5
    expected = texture[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(-1, 3).mean(0)
    assert rows[0]["texture"].shape == (32, 32, 3)
    assert np.abs(rows[0]["texture"][row, column] - expected).max() <= 0.5 + 1e-3
