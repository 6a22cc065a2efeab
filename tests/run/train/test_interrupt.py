"""Ctrl-C and SIGTERM: how a training that is asked to end ends, and what it has saved by then."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from na_ray.checkpoints import Checkpoints
from na_ray.cli.train import guarded
from na_ray.config import Experiment, override, to_dict
from na_ray.run.cluster import notice
from na_ray.run.cluster.notice import PreemptionWatch
from na_ray.run.train.driver import train
from na_ray.run.train.interrupt import STOP, stop_on_termination
from na_ray.run.train.run_folder import RunFolder
from tests.moments import until

DRIVER = """
import json, sys
from na_ray.cli.train import guarded
from na_ray.config import Experiment, from_dict
from na_ray.run.cluster import notice
from na_ray.run.train.driver import train
notice.PERIOD = 0.1
experiment = from_dict(Experiment, json.loads(sys.argv[1]))
sys.exit(guarded(lambda: bool(train(experiment, resume=True)) - 1))
"""


def interrupted(experiment: Experiment, number: signal.Signals, after: int, with_all: bool = False) -> tuple[int, str]:
    """Train in a process of its own, send it a signal when `after` steps are reported: its exit code and its words.
    `with_all`: send it to all processes that it started, too."""
    command = [sys.executable, "-c", DRIVER, json.dumps(to_dict(experiment))]
    record = Path(experiment.storage) / experiment.name / "nerf" / "metrics.jsonl"
    pipes: Any = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, start_new_session=with_all, **pipes) as driver:
        until(lambda: record.exists() and len(record.read_text().splitlines()) >= after, lambda: driver.poll() is None)
        os.killpg(driver.pid, number) if with_all else driver.send_signal(number)
        told, _ = driver.communicate(timeout=300)
    return driver.returncode, told


def left(experiment: Experiment) -> tuple[list[int], list[int], set[str]]:
    """Steps that are reported, steps of the checkpoints, and what MLflow says of the runs."""
    folder = Path(experiment.storage) / experiment.name / "nerf"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    saved = [int(path.name.removeprefix("step_")) for path in Checkpoints(folder / "checkpoints", 9).all()]
    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    found = client.get_experiment_by_name(experiment.name)
    assert found is not None and not (folder / STOP).exists()
    statuses = {run.info.status for run in client.search_runs([found.experiment_id])}
    return [line["step"] for line in lines if "loss" in line["metrics"]], saved, statuses


@pytest.fixture
def endless(tiny: Experiment) -> Experiment:
    """A training that reports every step, and would save its first checkpoint after a million."""
    rare = {"train.steps": 10**6, "train.log_every": 1, "train.checkpoint_every": 10**6, "train.validate_every": 0}
    return override(tiny, rare)


def test_sigterm_saves_a_checkpoint_first(
    endless: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notice, "PERIOD", 0.1)
    append, before = RunFolder.append, signal.getsignal(signal.SIGTERM)

    def append_and_end(run: RunFolder, step: int, *rest: Any, **named: Any) -> None:
        append(run, step, *rest, **named)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "append", append_and_end)
    assert guarded(lambda: bool(train(endless)) - 1) == 143
    told = capsys.readouterr().err
    assert "SIGTERM: saving a checkpoint, then ending" in told and "goes on with --resume auto" in told
    steps, saved, statuses = left(endless)
    assert saved == [steps[-1]] and steps[-1] >= 3 and statuses == {"KILLED"}
    assert signal.getsignal(signal.SIGTERM) == before


def test_ray_s_handler_of_ctrl_c_does_not_end_the_program_as_if_all_were_well(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), stop_on_termination(tmp_path):
        sys.exit(0)  # as Ray Train does when it has stopped its workers
    assert guarded(lambda: stop_by(KeyboardInterrupt)) == 130


def stop_by(error: type[BaseException]) -> int:
    raise error


@pytest.fixture
def distributed(endless: Experiment, ray_cluster: None) -> Experiment:
    """The same on two workers of Ray's."""
    return override(endless, {"train.num_workers": 2, "train.global_batch": 2, "train.cpus_per_worker": 0.5})


# Ray's workers have 25 seconds to save, which a machine that runs other tests beside may not give them.
@pytest.mark.cluster
def test_sigterm_saves_a_checkpoint_of_ray_s_workers_first(distributed: Experiment) -> None:
    code, told = interrupted(distributed, signal.SIGTERM, after=3)
    assert code == 143 and "Traceback" not in told, told[-2000:]
    steps, saved, statuses = left(distributed)
    assert saved == [steps[-1]] and statuses == {"KILLED"}


@pytest.mark.cluster  # a Ray of its own
def test_sigterm_that_ends_ray_too_finds_a_checkpoint(endless: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd, Slurm and timeout send it: Ray must not hear it."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    code, told = interrupted(override(endless, {"train.num_workers": 1}), signal.SIGTERM, after=3, with_all=True)
    assert code == 143 and "Traceback" not in told and "Failed to connect" not in told, told[-2000:]
    steps, saved, statuses = left(endless)
    assert saved and saved[-1] >= steps[-1] and statuses == {"KILLED"}


@pytest.mark.cluster  # a minute of Ray
def test_ctrl_c_ends_ray_s_workers(distributed: Experiment) -> None:
    code, told = interrupted(distributed, signal.SIGINT, after=3)
    assert code == 130 and "Traceback" not in told and "goes on with --resume auto" in told, told[-2000:]
    _, saved, statuses = left(distributed)
    assert not saved and statuses == {"KILLED"}


def test_sigterm_ends_other_commands_as_ctrl_c_does(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append(True)
        return 0

    assert guarded(work) == 143 and cleaned and signal.getsignal(signal.SIGTERM) == before
    assert "stopped; what is complete is kept" in capsys.readouterr().err


def test_all_workers_look_at_the_same_steps() -> None:
    watch = PreemptionWatch(lambda: None)
    watch.set_speed(2.0)
    assert [step for step in range(1, 31) if watch.looks(step)] == [10, 20, 30]
