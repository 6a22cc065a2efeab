"""One driver a run: two of the same name would destroy each other's checkpoints and records.

The lock is a file in the run's folder that says who holds it. A crash releases it: on a file system that locks, by the
system itself; elsewhere, and between machines whose locks do not reach each other, since its time is renewed no more.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from na_ray.config.values import UserError
from na_ray.run.train.disk import on_network_disk
from na_ray.run.train.interrupt import interrupt_main_thread

NAME = "driver.lock"

# Seconds between two renewals, and the age from which a lock of another machine is nobody's.
PERIOD = 5.0
STALE = 60.0

NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What a file system says that cannot lock."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    machine: str
    """The system, and the space of its process numbers: containers may share the one, and not the other."""
    host: str
    pid: int
    began: float
    """When the process began, Unix seconds: numbers of processes are used again."""
    token: str

    @staticmethod
    def me() -> "Holder":
        """This process."""
        pid = os.getpid()
        return Holder(_machine(), socket.gethostname(), pid, psutil.Process(pid).create_time(), uuid.uuid4().hex)

    def is_gone(self) -> bool:
        """Whether the process is known to have ended: one of another machine never is."""
        if self.machine != _machine():
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.began) > 1
        except psutil.NoSuchProcess:
            return True


def _machine() -> str:
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # no Linux
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


@contextlib.contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made, and removed again if nothing else has come into it.

    Raises UserError, one line, while another process holds it: who that is, and since when.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(folder) as file:
            me = Holder.me()
            _write(file, me)
            over = threading.Event()
            renewing = threading.Thread(target=_renew, args=(folder / NAME, me, over), daemon=True)
            renewing.start()
            try:
                yield
            finally:
                over.set()
                renewing.join()
                if _holder(file) == me and _is_current(folder / NAME, file):  # else it is another driver's by now
                    (folder / NAME).unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # the run has begun
            for path in made:
                path.rmdir()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """The lock's file, once nobody else holds it."""
    while True:
        try:
            file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another one has just removed the folder, which was made for its lock alone
            folder.mkdir(parents=True, exist_ok=True)
            continue
        try:
            locks = _flock(folder, file)
            if not _is_current(folder / NAME, file):
                continue  # its holder has just released it, and removed the file
            if not locks or on_network_disk(folder):  # else nobody holds it
                _wait_for(folder, file)
            yield file
            return
        finally:
            os.close(file)


def _flock(folder: Path, file: int) -> bool:
    """Take the system's lock. Returns whether the file system has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(folder, file) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _is_current(path: Path, file: int) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(file).st_ino
    except FileNotFoundError:
        return False


def _wait_for(folder: Path, file: int) -> None:
    """Return when the holder that the file names, if there is one, is gone; it is told of while that is not sure.

    Clocks differ between machines: what counts is whether the file's time goes on, as this machine sees it.
    """
    holder, seen = _holder(file), _time(folder / NAME)
    if holder is None or holder.is_gone():
        return
    if holder.machine == _machine():
        raise _taken(folder, file)
    if not _is_fresh(folder, seen):
        return
    print(
        f"{folder} was held by process {holder.pid} on {holder.host} a moment ago: waiting up to {STALE:.0f} s to see "
        "whether it still is",
        file=sys.stderr,
        flush=True,
    )
    until = time.monotonic() + STALE
    while time.monotonic() < until:
        time.sleep(PERIOD / 5)
        if _holder(file) != holder or _time(folder / NAME) != seen:
            raise _taken(folder, file)


def _is_fresh(folder: Path, seen: float) -> bool:
    """Whether a time of the file system is younger than `STALE`, by the file system's own clock."""
    probe = folder / f".{NAME}.{uuid.uuid4().hex}"
    try:
        probe.touch()
        return _time(probe) - seen < STALE
    finally:
        probe.unlink(missing_ok=True)


def _time(path: Path) -> float:
    """When a file was renewed. It is opened for that: only then does NFS ask its server, instead of its memory."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.fstat(file).st_mtime
    finally:
        os.close(file)


def _taken(folder: Path, file: int) -> UserError:
    holder = _holder(file)
    if holder is None:
        return UserError(f"{folder} is in use by another process: wait for it, or choose another --name")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.began))
    return UserError(
        f"{folder} is in use by process {holder.pid} on {holder.host}, which began {since}: wait for it, end it, or "
        "choose another --name"
    )


def _holder(file: int) -> Holder | None:
    try:
        found: Any = json.loads(os.pread(file, 4096, 0))
        return Holder(**found)
    except (ValueError, TypeError):  # empty, or half written by one who crashed
        return None


def _write(file: int, holder: Holder) -> None:
    text = json.dumps(asdict(holder)).encode()
    os.ftruncate(file, 0)
    os.pwrite(file, text, 0)
    os.fsync(file)


def _renew(path: Path, me: Holder, over: threading.Event) -> None:
    """Keep the lock's time going on. A disk that is away for a moment is no reason to stop.

    A process that stood still for longer than `STALE` finds the lock taken by another one: it ends, as by Ctrl-C.
    """
    while not over.wait(PERIOD):
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text()).get("token") != me.token:
                print(f"{path.parent}: another driver has taken the run over: this one ends", file=sys.stderr)
                interrupt_main_thread()
                return
            os.utime(path)
