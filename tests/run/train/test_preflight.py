"""What a preflight reads, and in which order it tells."""

import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.train.preflight import preflight
from tests.make_capture import write_tiny_capture, write_video

KNOBS = {
    "stages": ("nerf",),
    "data.train_views": "all",
    "data.validation_views": "0",
    "data.resolution": None,
    "data.rays_per_view": 20,
    "data.shard_frames": 4,
    "nerf.hidden": 16,
}


def experiment(capture: str | Path, **knobs: object) -> Experiment:
    return override(Experiment(), KNOBS | {"capture": str(capture)} | knobs)


def damaged(root: Path) -> Path:
    """A defect that only a look into the transforms finds."""
    (root / "skinning_weight.txt").write_text("1 0 0 0 0\n" * 31 + "2 0 0 0 0\n")
    return root


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_capture(tmp_path_factory.mktemp("preflight") / "tiny", frames=6, resolution=(32, 40))


def test_a_wrong_selection_is_told_before_anything_is_examined(tmp_path: Path) -> None:
    root = damaged(write_tiny_capture(tmp_path / "c", frames=6, splits=("training",)))
    with pytest.raises(UserError, match=r"^data\.train_views: '0\.\.9' asks for number 8, but there are 3") as told:
        preflight(experiment(root, **{"data.train_views": "0..9"}), tmp_path)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="weights sum to 2"):
        preflight(experiment(root), tmp_path)


def test_all_defects_are_told_where_one_stops_the_planning(tmp_path: Path) -> None:
    root = damaged(write_tiny_capture(tmp_path / "c", frames=6, splits=("training",)))
    (root / "intrinisc" / "0001.txt").write_text("no matrix\n")
    with pytest.raises(UserError) as told:
        preflight(experiment(root), tmp_path)
    assert [("sum to 2" in line, "no matrix" in line) for line in str(told.value).splitlines()] == [
        (True, False),
        (False, True),
    ]


def test_notes_of_the_capture_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_tiny_capture(tmp_path / "c", frames=6, resolution=(32, 40), splits=("training",))
    (root / "distortion.txt").write_text("-0.2 0 0 0\n")
    preflight(experiment(root), tmp_path)
    assert "note      " in (told := capsys.readouterr().out) and "holds lens distortion (file: -0.2)" in told


@pytest.fixture
def plain_server(capture: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(capture.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{capture.name}"
    server.shutdown()
    server.server_close()


def test_a_server_that_knows_no_ranges_is_refused(plain_server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tex.*\.avi: the server sends whole files only.*: copy the capture"):
        preflight(experiment(plain_server), tmp_path)


def test_videos_are_not_read_through(tmp_path: Path) -> None:
    root = write_tiny_capture(tmp_path / "c", frames=120, cameras=1, resolution=(32, 32), splits=("training",))
    noise = np.random.default_rng(0).integers(0, 256, (120, 256, 256, 3), np.uint8)
    write_video(root / "training/rgb_video/000.avi", list(noise), "mjpeg")
    np.savetxt(root / "intrinisc" / "0000.txt", [[300.0, 0, 128], [0, 300.0, 128], [0, 0, 1]])
    size, before = os.path.getsize(root / "training/rgb_video/000.avi"), bytes_read()
    preflight(experiment(root), tmp_path)
    read = bytes_read() - before
    assert size > 1e7 and read < size / 3, f"{read} of {size} bytes"


def bytes_read() -> int:
    """Bytes that this process has asked its files for."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))
