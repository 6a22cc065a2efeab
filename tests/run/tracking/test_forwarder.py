"""Metrics reach MLflow once each, also when it was away or the driver was started again."""

import contextlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from na_ray.config import Experiment, override
from na_ray.config.values import UserError
from na_ray.run.tracking import forwarder, runs, store
from na_ray.run.tracking.forwarder import Follower
from na_ray.run.tracking.progress import ProgressDisplay
from na_ray.run.tracking.system_metrics import SystemMetrics
from na_ray.run.train import disk
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


class Port(socketserver.ThreadingTCPServer):
    """A port of loopback behind which the server answers, while it is open: closed, the server seems to be gone.

    A server takes many seconds to start: these tests share one, each behind a port of its own.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, server: int, number: int = 0) -> None:
        self.server, self.ends = server, set[socket.socket]()
        super().__init__(("127.0.0.1", number), Relay)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Refuse connections from now on, and cut those that there are."""
        self.shutdown()
        self.server_close()
        for end in list(self.ends):
            with contextlib.suppress(OSError):  # it has ended by itself
                end.shutdown(socket.SHUT_RDWR)

    def reopened(self) -> "Port":
        """The same port, open again."""
        return Port(self.server, self.server_address[1])


class Relay(socketserver.BaseRequestHandler):
    """A connection through the port."""

    def handle(self) -> None:
        port = self.server
        assert isinstance(port, Port)
        with socket.create_connection(("127.0.0.1", port.server)) as there:
            port.ends |= {self.request, there}
            back = threading.Thread(target=pump, args=(there, self.request), daemon=True)
            back.start()
            pump(self.request, there)
            back.join()
            port.ends -= {self.request, there}


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end is gone
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def mlflow_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an MLflow server on loopback."""
    folder = tmp_path_factory.mktemp("server")
    copy_store(empty_store, folder / "server.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "a")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_TRACKING_URI": ""}
    process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
                return answer.status == 200
        except OSError:
            return False

    until(answers, alive=lambda: process.poll() is None)
    yield port
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def server(mlflow_server: int, monkeypatch: pytest.MonkeyPatch) -> Port:
    """Runs are tracked by the server behind this port."""
    port = Port(mlflow_server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port.server_address[1]}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return port


def test_a_server_that_goes_away_for_good_ends_with_one_line_and_a_run_to_resume(
    tiny: Experiment, server: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = override(tiny, {"report.frames": 0})
    append = RunFolder.append

    def end_the_server(run: RunFolder, step: int, *rest: Any, **named: Any) -> None:
        append(run, step, *rest, **named)
        if step == 6:
            server.close()

    with monkeypatch.context() as patch:
        patch.setattr(forwarder, "PATIENCE", 1.0)
        patch.setattr(RunFolder, "append", end_the_server)
        with pytest.raises(ValueError, match=r"MLflow does not answer .*: training is done, and --resume auto"):
            train(short)
    again = server.reopened()
    assert train(short, resume=True).name in ("step_000005", "step_000010")
    ids = json.loads((Path(short.storage) / "tiny" / "tracking.json").read_text())
    run = store.connect().get_run(ids["nerf"])
    assert run.info.status == "FINISHED"
    history = store.connect().get_metric_history(ids["nerf"], "loss")
    assert [m.step for m in history] == [2, 4, 6, 8, 10]
    again.close()


def test_a_server_that_is_not_there_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for uri in ("http://127.0.0.1:9", "http://[nonsense"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ValueError, match=r"no MLflow server answers .*: start it, or unset MLFLOW_TRACKING_URI$"):
            store.connect()


def test_metrics_wait_for_a_server_that_went_away(tiny: Experiment, tmp_path: Path, server: Port) -> None:
    run, watch = follower(tiny, tmp_path)
    report(run, 1)
    watch.look()
    server.close()
    for step in (2, 3):
        report(run, step)
        watch.look()
    assert watch.away and len(watch.waiting) == 2
    again = server.reopened()
    report(run, 4)
    watch.look()
    assert not watch.waiting and logged(watch) == [1, 2, 3, 4]
    again.close()


def test_a_checkpoint_that_is_removed_while_it_is_looked_at_does_not_count(tmp_path: Path) -> None:
    whole, half = tmp_path / "step_000001", tmp_path / "step_000002"
    for folder in (whole, half):
        folder.mkdir()
    (whole / "nerf.pt").write_bytes(bytes(3 * 2**20))
    (half / "nerf.pt").symlink_to("gone")  # listed, and not there any more
    (tmp_path / "step_000003").symlink_to("gone")
    assert disk.checkpoint_bytes(tmp_path) == 3 * 2**20
    assert disk.DiskMonitor(tmp_path, tmp_path).look() is None


def test_what_goes_wrong_in_the_background_is_told_once_and_does_not_end_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "PERIOD", 0.01)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) in (1, 2, 5):
            raise FileNotFoundError(f"it went wrong in another way {len(looks) > 2}")

    with forwarder.repeating(look):
        until(lambda: len(looks) > 9)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all("could not be followed (FileNotFoundError: it went wrong" in line for line in told)


def test_a_full_disk_under_the_log_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "PERIOD", 0.01)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        raise FileNotFoundError(f"it went wrong in way {len(looks)}")

    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    with monkeypatch.context() as there:
        there.setattr(sys, "stderr", full)
        with forwarder.repeating(look):
            until(lambda: len(looks) > 3)
        line = {"step": 10, "metrics": {"loss": 1.0, "psnr": 9.0, "steps_per_second": 1.0}, "note": "a machine is lost"}
        ProgressDisplay(10, "nerf").show(line)
    with contextlib.suppress(OSError):
        full.close()


def test_what_ends_early_does_not_wait_for_mlflow(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, watch = follower(tiny, tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 999)
    monkeypatch.setattr(forwarder, "PERIOD", 0.01)
    monkeypatch.setattr(forwarder, "PATIENCE", 1.0)
    look, looks = Follower.look, []

    def counted(watch: Follower) -> None:
        looks.append(threading.current_thread())
        look(watch)

    monkeypatch.setattr(Follower, "look", counted)
    with pytest.raises(KeyboardInterrupt), forwarder.following(run, watch.tracker, 10):
        report(run, 1)
        raise KeyboardInterrupt
    told = capsys.readouterr().err
    assert looks.count(threading.main_thread()) == 1 and "--resume auto delivers them" in told
    assert told.count("training goes on, the metrics wait") == 1 and "Traceback" not in told
    with forwarder.following(run, watch.tracker, 10):
        pass
    assert looks.count(threading.main_thread()) > 2


def test_an_error_of_the_artifacts_storage_ends_nothing(
    tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = store.connect()
    experiment_id = client.create_experiment("afar", "s3://bucket-of-nobody/artifacts")
    run_id = client.create_run(experiment_id).info.run_id
    run = RunFolder(tmp_path / "run", "nerf", 5)
    (run.folder / "pictures").mkdir(parents=True)
    (run.folder / "pictures" / "a.png").touch()
    watch = Follower(run, runs.Tracker(client, experiment_id, run_id, run_id), ProgressDisplay(10, "nerf"))
    run.append(1, {"validation/psnr": 1.0, "validation/ssim": 1.0}, "nerf/pictures")
    watch.look()
    watch.look()
    told = capsys.readouterr().err
    assert told.count("MLflow does not answer (") == 1 and "redentials" in told and watch.waiting
    with (
        pytest.raises(UserError, match=r"MLflow does not answer .*: training is done"),
        store.needed("training is done"),
    ):
        watch.tracker.files(run.folder, "report")


def test_a_run_that_is_deleted_while_it_trains_is_restored(
    tiny: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, watch = follower(tiny, tmp_path)
    report(run, 1)
    watch.look()
    watch.tracker.client.delete_run(watch.tracker.stage)
    report(run, 2)
    watch.look()
    assert watch.refused and watch.waiting
    watch.look()
    told = capsys.readouterr().err
    assert "MLflow refuses (The run" in told and "its run was deleted in MLflow, and is restored" in told
    assert logged(watch) == [1, 2] and not watch.refused


def test_pictures_that_were_removed_do_not_hold_the_metrics_back(tiny: Experiment, tmp_path: Path) -> None:
    run, watch = follower(tiny, tmp_path)
    run.append(1, {"validation/psnr": 1.0, "validation/ssim": 1.0}, "nerf/validation/step_000001")
    watch.look()
    assert not watch.waiting and watch.tracker.last_step("validation/psnr") == 1


def test_system_metrics_survive_a_server_that_was_away(tiny: Experiment, tmp_path: Path, server: Port) -> None:
    _, watch = follower(tiny, tmp_path)
    metrics = SystemMetrics(watch.tracker)
    metrics.sample()
    server.close()
    metrics.sample()
    again = server.reopened()
    metrics.sample()
    SystemMetrics(watch.tracker).sample()  # of a resumed training
    history = watch.tracker.client.get_metric_history(watch.tracker.stage, "system/cpu_utilization_percentage")
    assert [m.step for m in history] == [0, 1, 2]
    again.close()
