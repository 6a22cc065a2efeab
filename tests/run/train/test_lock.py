"""One driver a run: a lock that says who holds it, which a crash releases, and which works where nothing locks."""

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from na_ray.config import Experiment
from na_ray.config.values import UserError
from na_ray.run.train import lock
from na_ray.run.train.driver import train
from na_ray.run.train.lock import NAME, Holder, only_driver
from tests.moments import until

HOLD = """
import sys, time
from pathlib import Path
from na_ray.run.train.lock import only_driver
with only_driver(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[int]:
    """Another process, of this number, holds the lock; it is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot lock, as some shared ones."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_second_driver_is_told_who_the_first_is_and_a_crash_releases(tiny: Experiment) -> None:
    root = Path(tiny.storage) / tiny.name
    with held(root) as pid:
        with pytest.raises(UserError, match=f"is in use by process {pid} on {socket.gethostname()}, which") as told:
            train(tiny)
        assert "\n" not in str(told.value)
        assert [path.name for path in root.iterdir()] == [NAME], "nothing was written beside it"
    with only_driver(root):
        assert json.loads((root / NAME).read_text())["pid"] == os.getpid()
    with only_driver(root.parent / "new" / "run"):
        pass
    assert not (root.parent / "new").exists(), "folders that were made for the lock alone are removed with it"


def test_a_process_that_lives_is_known_where_nothing_locks(tmp_path: Path, without_locks: None) -> None:
    with (
        held(tmp_path / "run") as pid,
        pytest.raises(UserError, match=f"process {pid} "),
        only_driver(tmp_path / "run"),
    ):
        pass
    with only_driver(tmp_path / "run"):
        pass
    before = {"machine": Holder.me().machine, "host": "x", "pid": os.getpid(), "token": "t"}
    (tmp_path / NAME).write_text(json.dumps(before | {"began": psutil.Process().create_time() - 100}))
    with only_driver(tmp_path):  # the number was another process's, which has ended
        pass


def elsewhere(folder: Path, age: float) -> None:
    """A lock that a driver on another machine renewed `age` seconds ago."""
    (folder / NAME).write_text(json.dumps({"machine": "m", "host": "node7", "pid": 1, "began": 0.0, "token": "t"}))
    os.utime(folder / NAME, (time.time() - age,) * 2)


def test_another_machine_s_lock_holds_while_it_is_renewed(
    tmp_path: Path, without_locks: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(tmp_path, age=2 * lock.STALE)
    with only_driver(tmp_path):
        pass
    monkeypatch.setattr(lock, "PERIOD", 0.05)
    monkeypatch.setattr(lock, "STALE", 0.5)
    elsewhere(tmp_path, age=0.0)  # it has just crashed
    with only_driver(tmp_path):
        pass
    assert "held by process 1 on node7 a moment ago" in capsys.readouterr().err
    monkeypatch.setattr(lock, "STALE", 60.0)
    elsewhere(tmp_path, age=5.0)
    renewing = threading.Timer(0.3, lambda: os.utime(tmp_path / NAME))
    renewing.start()
    with pytest.raises(UserError, match="process 1 on node7"), only_driver(tmp_path):
        pass
    renewing.join()


def test_a_disk_that_locks_says_at_once_that_a_container_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(tmp_path, age=0.0)
    with only_driver(tmp_path):
        assert not capsys.readouterr().err, "nobody is waited for"


def test_a_lock_is_renewed_and_its_loss_ends_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PERIOD", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
    try:
        with pytest.raises(KeyboardInterrupt), only_driver(tmp_path):
            os.utime(tmp_path / NAME, (0, 0))
            until(lambda: (tmp_path / NAME).stat().st_mtime > 0)
            elsewhere(tmp_path, age=0.0)
            time.sleep(60)
    finally:
        signal.signal(signal.SIGINT, before)
    assert json.loads((tmp_path / NAME).read_text())["host"] == "node7", "it is not this driver's to remove"


def test_the_lock_of_who_came_behind_a_removed_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PERIOD", 600.0)
    first = only_driver(tmp_path)
    first.__enter__()
    (tmp_path / NAME).unlink()  # by hand
    with held(tmp_path) as pid:
        first.__exit__(None, None, None)
        with pytest.raises(UserError, match=f"in use by process {pid}"), only_driver(tmp_path):
            pass


def test_a_driver_that_ignores_ctrl_c_ends_as_well(tmp_path: Path) -> None:
    """As `nohup na-ray train ... &` in a script starts it."""
    script = """
import signal, sys, time
from pathlib import Path
from na_ray.run.train import lock
lock.PERIOD = 0.05
signal.signal(signal.SIGINT, signal.SIG_IGN)
with lock.only_driver(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == b"held\n"
        elsewhere(tmp_path, age=0.0)
        assert driver.wait(50) == -signal.SIGTERM


def test_two_locks_that_are_released_and_taken_never_overlap(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    script = """
import sys, time
from pathlib import Path
from na_ray.config.values import UserError
from na_ray.run.train.lock import only_driver
root, done = Path(sys.argv[1]), 0
while done < 40:
    try:
        with only_driver(root / "run"):
            counter = root / "counter"
            before = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(before + 1))
        done += 1
    except UserError:
        time.sleep(0.001)
"""
    both = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert counter.read_text() == "80"
