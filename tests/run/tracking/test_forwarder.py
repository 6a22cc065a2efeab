"""Metrics reach MLflow once each, also when it was away or the driver was started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from na_ray.config import Experiment, override
from na_ray.run.tracking import forwarder, runs
from na_ray.run.tracking.forwarder import Follower
from na_ray.run.tracking.progress import ProgressDisplay
from na_ray.run.train.driver import train
from na_ray.run.train.run_folder import RunFolder
from tests.moments import until
from tests.run.conftest import copy_store


def report(run: RunFolder, step: int) -> None:
    run.append(step, {"loss": 1.0 / step, "psnr": float(step), "steps_per_second": 1.0})


def follower(tiny: Experiment, tmp_path: Path) -> tuple[RunFolder, Follower]:
    run = RunFolder(tmp_path / "run", "nerf", 5)
    run.folder.mkdir(parents=True, exist_ok=True)
    return run, Follower(run, runs.start(tiny, run.root, "nerf"), ProgressDisplay(10, "nerf"))


def logged(watch: Follower) -> list[int]:
    return [m.step for m in watch.tracker.client.get_metric_history(watch.tracker.stage, "loss")]


def test_steps_done_twice_are_delivered_once(tiny: Experiment, tmp_path: Path) -> None:
    run, watch = follower(tiny, tmp_path)
    for step in (1, 2, 3, 2, 3, 4):  # a worker died after step 3 and went on from step 1
        report(run, step)
    watch.look()
    assert logged(watch) == [1, 2, 3, 4]


def test_a_new_driver_delivers_what_the_old_one_did_not(tiny: Experiment, tmp_path: Path) -> None:
    run, watch = follower(tiny, tmp_path)
    report(run, 1)
    watch.look()
    report(run, 2)  # the driver is killed before it looks again
    run, again = follower(tiny, tmp_path)
    report(run, 3)
    again.look()
    assert again.tracker.stage == watch.tracker.stage
    assert logged(again) == [1, 2, 3]


@pytest.fixture
def server(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Starts an MLflow server on loopback, as often as it is called."""
    copy_store(empty_store, tmp_path / "server.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started: list[subprocess.Popen] = []

    def start() -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ]
        store = [
            "--backend-store-uri",
            f"sqlite:///{tmp_path}/server.db",
            "--artifacts-destination",
            str(tmp_path / "a"),
        ]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": ""}
        process = subprocess.Popen(
            [*command, *store], env=environment, start_new_session=True, stderr=subprocess.DEVNULL
        )
        started.append(process)
        until(answers, alive=lambda: process.poll() is None)
        return process

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
                return answer.status == 200
        except OSError:
            return False

    yield start
    for process in started:
        if process.poll() is None:
            end(process)


def test_a_server_that_goes_away_for_good_ends_with_one_line_and_a_run_to_resume(
    tiny: Experiment,
    server,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = server()
    short = override(tiny, {"report.frames": 0})
    append = RunFolder.append

    def end_the_server(run: RunFolder, step: int, *rest: Any, **named: Any) -> None:
        append(run, step, *rest, **named)
        if step == 6 and process.poll() is None:
            end(process)

    with monkeypatch.context() as patch:
        patch.setattr(forwarder, "PATIENCE", 1.0)
        patch.setattr(RunFolder, "append", end_the_server)
        with pytest.raises(ValueError, match=r"MLflow does not answer .*: training is done, and --resume auto"):
            train(short)
    server()
    assert train(short, resume=True).name in ("step_000005", "step_000010")
    ids = json.loads((Path(short.storage) / "tiny" / "tracking.json").read_text())
    run = runs.connect().get_run(ids["nerf"])
    assert run.info.status == "FINISHED"
    history = runs.connect().get_metric_history(ids["nerf"], "loss")
    assert [m.step for m in history] == [2, 4, 6, 8, 10]


def end(process: subprocess.Popen) -> None:
    """Kill the server with all its processes."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_server_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("http://127.0.0.1:9", "http://[nonsense"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ValueError, match=r"no MLflow server answers .*: start it, or unset MLFLOW_TRACKING_URI$"):
            runs.connect()


def test_metrics_wait_for_a_server_that_went_away(tiny: Experiment, tmp_path: Path, server) -> None:  # type: ignore[no-untyped-def]
    process = server()
    run, watch = follower(tiny, tmp_path)
    report(run, 1)
    watch.look()
    end(process)
    for step in (2, 3):
        report(run, step)
        watch.look()
    assert watch.away and len(watch.waiting) == 2
    server()
    report(run, 4)
    watch.look()
    assert not watch.waiting and logged(watch) == [1, 2, 3, 4]
