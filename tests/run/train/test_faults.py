"""What goes wrong while training: real processes are killed, a real disk is full, a real video turns unreadable."""

import itertools
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from ray.exceptions import RayActorError

from na_ray import checkpoint
from na_ray.capture.dataset import Capture
from na_ray.checkpoint import load_avatar
from na_ray.checkpoints import Checkpoints
from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.cluster.notice import LAST, PreemptionWatch
from na_ray.run.data.frames import FrameDataset, FrameSampler
from na_ray.run.data.loader import StepLoader
from na_ray.run.train import disk, driver
from na_ray.run.train.driver import train
from na_ray.run.train.restart_policy import RestartPolicy
from na_ray.run.train.run_folder import RunFolder
from tests.make_capture import write_tiny_capture
from tests.moments import kill_decoder, kill_training_worker, until


def record(experiment: Experiment) -> list[dict]:
    path = Path(experiment.storage) / experiment.name / "nerf" / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps(experiment: Experiment) -> list[int]:
    return [line["step"] for line in record(experiment) if "loss" in line["metrics"]]


def delivered(experiment: Experiment) -> list[int]:
    ids = json.loads((Path(experiment.storage) / experiment.name / "tracking.json").read_text())
    return [m.step for m in MlflowClient().get_metric_history(ids["nerf"], "loss")]


def meanwhile(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def distributed(tiny: Experiment, ray_cluster: None) -> Experiment:
    """Sixty steps on one Ray worker; each is reported."""
    return override(
        tiny,
        {
            "train.steps": 60,
            "train.num_workers": 1,
            "train.cpus_per_worker": 0.5,
            "train.log_every": 1,
            "train.validate_every": 0,
            "report.frames": 0,
        },
    )


@pytest.fixture
def own_capture(distributed: Experiment, tmp_path: Path) -> Experiment:
    """The same with a capture that a test may damage."""
    shutil.copytree(distributed.capture, tmp_path / "own")
    return override(distributed, {"capture": str(tmp_path / "own"), "data.memory_mb": 1})


def damage(experiment: Experiment) -> None:
    """Overwrite the frames of a training camera's video."""
    path = sorted((Path(experiment.capture) / "training" / "rgb_video").iterdir())[0]
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(data) // 8)
        file.write(bytes(3 * len(data) // 4))


def trained(run: Path) -> dict[str, torch.Tensor]:
    """Parameters alone: running statistics are each worker's own."""
    return {name: p.detach() for name, p in load_avatar(run).model.named_parameters()}


def test_two_workers_learn_what_one_does_though_processes_are_killed_and_end_at_once_by_an_unreadable_video(
    own_capture: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed decoder costs nothing; a killed worker is replaced, and costs what was not saved; a video that turns
    unreadable ends the training with one line. One training for all of them: its processes take most of a minute."""
    both = override(own_capture, {"train.global_batch": 2, "train.steps": 20, "train.validate_every": 5})
    one = train(override(both, {"name": "one", "train.num_workers": 0}))
    # Each worker reads eight shards and more: twenty rows, of groups of four shards of four rows.
    marker = Path(both.storage) / "killed"
    kill_training_worker(monkeypatch, step=8)
    kill_decoder(monkeypatch, str(marker), shard=5)
    shared = {"name": "two", "train.num_workers": 2, "train.steps": 10**6, "train.keep_last": 1000}
    two, notes = override(both, shared), list[str]()
    root = Path(two.storage) / "two" / "nerf"

    def break_it() -> None:
        until((root / "checkpoints" / "step_000020" / "metrics.json").exists)
        notes.extend(line["note"] for line in record(two) if "note" in line)
        damage(two)

    breaking = meanwhile(break_it)
    with pytest.raises(ValueError, match=r"rgb_video/000.*: copy the file again$") as told:
        train(two)
    breaking.join()
    assert "\n" not in str(told.value)
    assert [line["note"] for line in record(two) if "note" in line] == notes, "nobody tried again"
    assert marker.exists() and (root / "killed").exists()
    last = steps(two)[-1]
    assert steps(two) == [*range(1, 9), *range(6, last + 1)], "those behind the checkpoint are done twice, no other is"
    assert last >= 20 and delivered(two) == list(range(1, last + 1))
    runs = MlflowClient().search_runs([MlflowClient().get_experiment_by_name("two").experiment_id])
    assert {run.info.status for run in runs} == {"FAILED"}
    a, b = (trained(folder / "step_000020") for folder in (one.parent, root / "checkpoints"))
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 2e-5


def test_shards_of_an_unreadable_video_are_skipped_and_counted_on_request(
    own_capture: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = driver.train_here

    def break_and_begin(experiment: Experiment, *rest: Any) -> None:  # behind the preflight, which would see it
        damage(experiment)
        begin(experiment, *rest)

    monkeypatch.setattr(driver, "train_here", break_and_begin)
    skipping = {"data.on_bad_shard": "skip", "train.steps": 60, "train.log_every": 20, "train.num_workers": 0}
    patient = override(own_capture, skipping)
    train(patient)
    lines = [line["metrics"] for line in record(patient) if "loss" in line["metrics"]]
    assert lines[-1]["skipped_shards"] > 0 and steps(patient)[-1] == 60
    # Ray's workers pass over the same ones.
    dataset = FrameDataset.make(Capture.open(patient.capture), patient)
    loader = StepLoader(FrameSampler(dataset, (0,), 1, 0), distributed=True)
    assert len(list(itertools.islice(loader, 60))) == 60 and loader.skipped == lines[-1]["skipped_shards"]


@pytest.mark.cluster  # a minute of Ray; what it costs a step is tested in test_step.py
def test_elastic_training_starts_with_the_workers_that_fit_and_learns_the_same(distributed: Experiment) -> None:
    short = override(distributed, {"train.steps": 10, "train.global_batch": 3})
    train(override(short, {"name": "one"}))
    elastic = {"name": "some", "train.num_workers": 3, "train.min_workers": 1, "train.cpus_per_worker": 1.5}
    train(override(short, elastic))  # two of the three fit: one has two frames of each step, the other one
    one, some = (
        [line["metrics"]["loss"] for line in record(override(short, {"name": n}))[:10]] for n in ("one", "some")
    )
    # Weights that are not equal would show in the second loss; later ones tell of rounding, which Adam amplifies.
    assert one[:5] == pytest.approx(some[:5], rel=1e-5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no byte free."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 64):
            try:
                while file.write(bytes(size)) == size:
                    continue
            except OSError:
                continue
    return path


def test_training_waits_for_a_full_disk_and_loses_nothing(
    tiny: Experiment, small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk, "PERIOD", 0.1)
    long = override(tiny, {"storage": str(small_disk), "train.steps": 30, "train.log_every": 1, "train.keep_last": 1})
    append, look, told_of, seen = RunFolder.append, disk.DiskMonitor.look, threading.Event(), []

    def append_and_fill(run: RunFolder, step: int, *rest: Any, **named: Any) -> None:
        append(run, step, *rest, **named)
        if step == 7:  # the checkpoint of step 5 is there, and nothing is being written
            fill(small_disk)

    def look_and_note(monitor: disk.DiskMonitor) -> str | None:
        line = look(monitor)
        if line is not None and monitor.low:
            told_of.set()
        return line

    def empty_it_when_that_was_told() -> None:
        until(told_of.is_set)
        time.sleep(1)  # in which a training that does not wait would go on; one that does has as long as it likes
        seen.extend(steps(long))
        (small_disk / "filler").unlink()

    monkeypatch.setattr(RunFolder, "append", append_and_fill)
    monkeypatch.setattr(disk.DiskMonitor, "look", look_and_note)
    emptying = meanwhile(empty_it_when_that_was_told)
    best = train(override(long, {"report.frames": 0, "train.validate_every": 0}))
    emptying.join()
    assert seen == list(range(1, len(seen) + 1)) and 7 <= len(seen) <= 10, "it stands still at the next checkpoint"
    assert best.name == "step_000030" and steps(long) == delivered(long) == list(range(1, 31))
    assert load_avatar(best)
    told = capsys.readouterr().err
    assert "free some space; training waits for it" in told and "has room again" in told


def test_a_disk_that_stays_full_ends_the_run_with_one_line_and_a_whole_checkpoint(
    tiny: Experiment, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PATIENCE", 1.0)
    monkeypatch.setattr(disk, "PERIOD", 0.1)
    root = small_disk / "run"
    run = RunFolder(root, "nerf", 2)
    run.folder.mkdir(parents=True)
    run.append(1, {"loss": 1.0})
    filler = fill(small_disk)
    with pytest.raises(ValueError, match=r"the disk has been full for .* --resume auto"):
        for step in range(2, 10_000):
            run.append(step, {"loss": 1.0})
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1)), "no line is torn"
    filler.unlink()


def test_a_folder_that_is_moved_away_while_it_trains_is_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "nerf", 2)
    run.folder.mkdir(parents=True)
    run.append(1, {"loss": 1.0})
    run.root.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"run/nerf is gone.* put it back, then go on with --resume auto"):
        run.append(2, {"loss": 1.0})
    assert disk.DiskMonitor(run.folder, run.checkpoints.root).look() is None, "who follows has nothing to add"


def test_a_checkpoint_on_a_full_disk_says_so_and_leaves_nothing(tiny: Experiment, small_disk: Path) -> None:
    rig = Capture.open(tiny.capture).rig
    with pytest.raises(OSError) as full:
        checkpoint.save(small_disk / "step_000001", "nerf", {"w": torch.zeros(2**20)}, rig, tiny)
    assert full.value.errno in disk.FULL and not list(small_disk.iterdir())


def test_a_notice_saves_at_once_and_shortly_before_its_end() -> None:
    answers = iter([None, 100.0, 60.0, LAST, 5.0, None, 90.0])
    notice = PreemptionWatch(lambda: next(answers))
    assert [notice.due(step) for step in range(7)] == [False, True, False, True, False, False, True]
    notice = PreemptionWatch(lambda: 10.0)
    notice.set_speed(steps_per_second=2.0)  # five seconds are ten steps
    assert [step for step in range(1, 31) if notice.due(step)] == [10]


def test_failures_end_a_run_when_nothing_comes_of_them(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", 2)
    persistence = RestartPolicy(checkpoints, limit=2)
    rig = Capture.open(write_tiny_capture(tmp_path / "capture", frames=1, splits=("training",))).rig

    def save(step: int) -> None:
        checkpoint.save(checkpoints.folder(step), "nerf", {"w": torch.ones(1)}, rig, Experiment(), step)

    died = {0: RayActorError()}
    for step in range(5):
        persistence.after_exception(None, died)
        save(step)
    persistence.after_exception(None, died)
    persistence.after_exception(None, {0: RayActorError(preempted=True)})
    persistence.after_exception(None, died)
    with pytest.raises(RuntimeError, match="failed 3 times without a new checkpoint"):
        persistence.after_exception(None, died)
    with pytest.raises(ValueError, match=r"^no such video$"):
        RestartPolicy(checkpoints, limit=9).after_exception(None, {0: RuntimeError("x"), 1: UserError("no such video")})


def test_a_bug_is_no_mistake_of_the_user_s(tmp_path: Path) -> None:
    policy = RestartPolicy(Checkpoints(tmp_path, 2), limit=1)
    try:
        torch.zeros(3).numpy().reshape(2, 2)
    except ValueError as bug:
        policy.after_exception(None, {0: bug})
        with pytest.raises(RuntimeError, match="failed 2 times .*cannot reshape") as told:
            policy.after_exception(None, {0: bug})
    assert not isinstance(told.value, UserError)
