"""A disk that fills up while training writes: wait for room, and lose nothing. And what kind of disk it is."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from na_ray.config.values import UserError

# Seconds that training stands still for a full disk: less than its workers wait for each other (Ray: 30 minutes).
PATIENCE = 900.0
# Seconds between two tries.
PERIOD = 2.0

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says when a disk or the user's share of it is full."""

NETWORK_DISKS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "gluster", "fuse", "9p", "afs", "virtiofs")
"""How the names of file systems begin that several machines may share: their locks may not reach each other."""


def patiently(write: Callable[[], None], folder: Path, need: int = 0) -> None:
    """Write below `folder` when there are `need` bytes of room; wait where there are not, and try again.

    `write` must leave nothing behind when it fails. Raises UserError, one line, when `PATIENCE` is over.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if shutil.disk_usage(folder).free < need:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write()
            return
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not folder.exists():
                raise UserError(
                    f"{folder} is gone, in which training writes: put it back, then go on with --resume auto"
                ) from error
            if error.errno not in FULL:
                raise
        if time.monotonic() > until:
            raise UserError(
                f"{folder}: the disk has been full for {PATIENCE / 60:.0f} minutes: free some space, then go on with "
                "--resume auto from the last checkpoint"
            )
        time.sleep(PERIOD)


def append(path: Path, line: bytes) -> None:
    """Add a line to a file: all of it, or nothing and an OSError.

    What stands behind the last whole line was half written when the machine crashed: it is removed.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = _whole_lines(file)
        written = os.write(file, line)
        if written < len(line):
            os.ftruncate(file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(file)


def _whole_lines(file: int) -> int:
    """Cut a file behind its last whole line. Returns its bytes."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        whole = os.pread(file, size, 0).rfind(b"\n") + 1
        os.ftruncate(file, whole)
        return whole
    return size


class DiskMonitor:
    """Warns the user, once each time, that the disk has no room for another checkpoint. The driver asks it."""

    def __init__(self, folder: Path, checkpoints: Path) -> None:
        self.folder, self.checkpoints, self.low = folder, checkpoints, False

    def look(self) -> str | None:
        """A line to show, when something has changed."""
        try:
            need, free = checkpoint_bytes(self.checkpoints), shutil.disk_usage(self.folder).free
        except FileNotFoundError:  # the folder was moved away: who writes there says so
            return None
        was, self.low = self.low, free < need
        if self.low and not was:
            return (
                f"{self.folder} has {free / 1e6:.0f} MB free and the next checkpoint needs {need / 1e6:.0f} MB: free "
                "some space; training waits for it then"
            )
        return f"{self.folder} has room again" if was and not self.low else None


def checkpoint_bytes(folder: Path) -> int:
    """Room that the next checkpoint needs beside those in `folder`: that of the largest; 1 MB before the first.

    The worker that writes checkpoints removes some while the driver looks: what is gone meanwhile does not count.
    """
    return max((_bytes(made) for made in folder.glob("step_*")), default=0) or 2**20


def _bytes(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sum(f.stat().st_size for f in folder.iterdir())
    return 0


def on_network_disk(path: Path, mounts: list[tuple[str, str]] | None = None) -> bool:
    """Whether a path lies on a file system that other machines may share. `mounts`: mount points and their types."""
    if mounts is None:
        mounts = [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
    place = os.path.realpath(path)
    above = [(mount, kind) for mount, kind in mounts if f"{place}/".startswith(mount.rstrip("/") + "/")]
    if not above:
        return False
    return max(above, key=lambda item: len(item[0]))[1].startswith(NETWORK_DISKS)
