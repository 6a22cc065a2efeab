"""Checkpoints that a crash, a copy or a disk has cut short."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from na_ray.body.body import Body
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import damage, load_avatar, load_training, save, validation
from na_ray.checkpoints import Checkpoints
from na_ray.config import Experiment, NerfConfig, override
from na_ray.config.files import read_json
from na_ray.config.values import UserError
from na_ray.models.nerf.renderer import Nerf
from na_ray.run.train.driver import train
from na_ray.run.train.run_folder import RunFolder
from tests.make_capture import write_tiny_capture

FILES = ("experiment.json", "body.npz", "nerf.pt", "training.pt", "metrics.json", "fingerprint.json")
SHARES = (0.0, 0.01, 0.3, 0.9, 0.999)
"""Of a file, that are left."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's checkpoints: the second is the latest and has the better score."""
    root = tmp_path_factory.mktemp("two")
    rig = Capture.open(write_tiny_capture(root / "capture", frames=1, splits=("training",))).rig
    config = Experiment(nerf=NerfConfig(hidden=8, encoder_width=4))
    nerf = Nerf(config.nerf, Body.from_rig(rig))
    for step, psnr in ((5, 20.0), (10, 30.0)):
        folder = root / "checkpoints" / f"step_{step:06d}"
        training, scores, about = {"moments": torch.ones(99)}, {"validation/psnr": psnr}, {"body": "a body's digest"}
        save(folder, "nerf", nerf.state_dict(), rig, config, step, training, scores, about)
    return root / "checkpoints"


def cut(path: Path, share: float) -> None:
    """Keep the beginning of a file: at least a byte less than there is."""
    data = path.read_bytes()
    path.write_bytes(data[: min(len(data) - 1, int(share * len(data)))])


def open_all(folder: Path) -> None:
    """Everything that a checkpoint is opened for."""
    load_avatar(folder)
    load_training(folder)
    validation(folder)
    read_json(folder / "fingerprint.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", SHARES)
def test_a_torn_file_is_one_line_that_names_it_and_is_passed_over(
    two: Path, tmp_path: Path, name: str, share: float
) -> None:
    root = shutil.copytree(two, tmp_path / "checkpoints")
    checkpoints, last = Checkpoints(root, 2), root / "step_000010"
    assert checkpoints.latest() == checkpoints.best() == last and damage(last) is None
    cut(last / name, share)
    with pytest.raises(UserError, match=f"^{re.escape(str(last / name))} is damaged") as told:
        open_all(last)
    assert "\n" not in str(told.value)
    assert str(last / name) in str(damage(last))
    assert checkpoints.latest() == checkpoints.best() == root / "step_000005"
    (line,) = checkpoints.set_aside()
    assert str(last / name) in line and "damaged_step_000010" in line and "\n" not in line
    assert sorted(f.name for f in root.iterdir()) == ["damaged_step_000010", "step_000005"]
    open_all(root / "step_000005")


def test_an_archive_that_is_unchanged_is_not_opened_again(two: Path, tmp_path: Path) -> None:
    root = shutil.copytree(two, tmp_path / "checkpoints")
    checkpoints, file = Checkpoints(root, 2), root / "step_000010" / "training.pt"
    assert checkpoints.latest() == checkpoints.best() == file.parent
    before = file.stat()
    file.write_bytes(bytes(before.st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert checkpoints.latest() == checkpoints.best() == file.parent, "nothing says that it was changed"
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert checkpoints.latest() == checkpoints.best() == root / "step_000005"


def test_pruning_leaves_nothing_behind_after_a_crash(two: Path, tmp_path: Path) -> None:
    root = shutil.copytree(two, tmp_path / "checkpoints")
    for name in (".step_000005.gone", ".step_000007.a1b2c3"):  # half removed, and half written
        shutil.copytree(root / "step_000005", root / name)
    Checkpoints(root, 1).prune()
    assert [path.name for path in root.iterdir()] == ["step_000010"]


@pytest.mark.parametrize("name", FILES[:3])
def test_a_missing_file_makes_a_checkpoint_incomplete(two: Path, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(two, tmp_path / "checkpoints")
    (root / "step_000010" / name).unlink()
    assert Checkpoints(root, 2).all() == [root / "step_000005"]


def test_resuming_goes_on_from_the_last_whole_checkpoint_and_says_so(
    tiny: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    short = override(tiny, {"report.frames": 0, "train.validate_every": 0, "train.keep_last": 5})
    unbroken = train(override(short, {"name": "unbroken"}))
    train(short)
    root = Path(tiny.storage) / "tiny"
    cut(root / "nerf" / "checkpoints" / "step_000010" / "training.pt", 0.5)
    (root / "nerf" / "closed.json").unlink()
    again = train(short, resume=True)
    assert again.name == "step_000010" and damage(again) is None
    a, b = (torch.load(f / "nerf.pt", weights_only=True) for f in (unbroken, again))
    assert all(torch.equal(a[name], b[name]) for name in a)
    notes = [json.loads(line).get("note") for line in (root / "nerf" / "metrics.jsonl").read_text().splitlines()]
    told = [note for note in notes if note]
    assert "step_000010/training.pt is damaged" in told[-2] and told[-1] == "going on from step 5, with 1 worker"


def test_half_a_line_of_the_record_is_removed_with_the_next(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "nerf", 2)
    run.folder.mkdir()
    for half in (b'{"step": 2, "metr', bytes(40)):  # as some file systems leave it
        run.append(1, {"loss": 1.0})
        with open(run.folder / "metrics.jsonl", "ab") as file:
            file.write(half)
    run.append(1, {"loss": 1.0})
    lines, offset = run.record(0)
    assert [line["step"] for line in lines] == [1, 1, 1] and offset == (run.folder / "metrics.jsonl").stat().st_size


def test_other_files_of_a_run_are_told_of_in_one_line(tiny: Experiment) -> None:
    short = override(tiny, {"report.frames": 0, "train.steps": 1})
    train(short)
    root = Path(tiny.storage) / "tiny"
    for name in ("tracking.json", "fingerprint.json", "nerf/closed.json", "experiment.json"):
        whole = (root / name).read_bytes()
        cut(root / name, 0.6)
        with pytest.raises(UserError, match=f"{re.escape(str(root / name))} is damaged") as told:
            train(override(short, {"train.steps": 2}), resume=True)
        assert "\n" not in str(told.value)
        (root / name).write_bytes(whole)
