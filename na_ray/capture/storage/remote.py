"""A file behind a URL as one that can seek: what is read crosses the network in ranges, and little more than it.

Two kinds of reads: small ones here and there (headers, indices, a zip's directory), which fetch aligned blocks that all
files of the process share, and a range announced by `want`, which is fetched exactly, in one request where it is short.
"""

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any

from fsspec.spec import AbstractBufferedFile

from na_ray.capture.storage.filesystem import CutShortError, ask, facts, forget, locate, mark_of
from na_ray.config.values import StorageError, UserError

BLOCK = 64 * 2**10
"""Bytes of a block: the least that is fetched, but for a file's end."""
CACHE_BYTES = 64 * 2**20
"""Most bytes of blocks that a process keeps."""
MOST_RUN = 4 * 2**20
"""Most bytes of blocks in one request: a file that is read through is fetched in ever longer runs of blocks."""
MOST_HELD = 16 * 2**20
"""Most bytes of an announced range that a file holds at a time."""
# Files fetched ahead that nobody has taken yet, and threads that fetch them.
MOST_AHEAD = 32
THREADS = 8

Version = tuple[str, int, str]
"""(URL, bytes, mark) of a file: see `storage.version`."""


class Blocks:
    """The blocks read last, of all files of this process."""

    def __init__(self, capacity: int) -> None:
        """`capacity` in bytes."""
        self.capacity, self.held = capacity, 0
        self._blocks: OrderedDict[tuple[Version, int], bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, version: Version, number: int) -> bytes | None:
        """A block, if it is still there."""
        with self._lock:
            block = self._blocks.get((version, number))
            if block is not None:
                self._blocks.move_to_end((version, number))
            return block

    def put(self, version: Version, number: int, block: bytes) -> None:
        """Keep a block, and drop those not asked for longest where room is needed."""
        with self._lock:
            self.held += len(block) - len(self._blocks.pop((version, number), b""))
            self._blocks[version, number] = block
            while self.held > self.capacity:
                self.held -= len(self._blocks.popitem(last=False)[1])


_blocks = Blocks(CACHE_BYTES)


class Source:
    """One version of a file in its storage. Threads may share it."""

    def __init__(self, version: Version) -> None:
        """Raises StorageError, FileNotFoundError, or UserError where the file is no longer of that version."""
        self.version = version
        url, self.size, mark = version
        fs, place = locate(url)
        # S3 refuses to send parts of another version than the one that was opened.
        self._file: Any = ask(url, lambda: fs.open(place, "rb", cache_type="none"))
        self._lock = Lock()
        # A web server that hiccups when it is opened says nothing of the file: then the parts' sizes alone tell.
        if isinstance(self._file, AbstractBufferedFile) and mark_of(ask(url, lambda: self._file.details)) not in (
            mark,
            "",
        ):
            raise self._changed()

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes start..stop, by one request. Raises UserError where the file was replaced, StorageError."""
        with self._lock:
            return self._fetch(start, stop)

    def _fetch(self, start: int, stop: int) -> bytes:
        url = self.version[0]

        def read() -> bytes:
            self._file.seek(start)
            data = bytes(self._file.read(stop - start))
            if len(data) != stop - start:
                raise CutShortError(f"{len(data)} of {stop - start} bytes came")
            return data

        try:
            return ask(url, read)
        except (StorageError, FileNotFoundError):
            forget(url)
            now = facts(url)  # raises what is the matter now, if it is the storage
            if (now.size, now.mark) != self.version[1:]:
                raise self._changed() from None
            raise

    def block(self, number: int, run: int) -> bytes:
        """A block; where it is not at hand, it is fetched together with the `run` - 1 blocks behind it."""
        known = _blocks.get(self.version, number)
        if known is not None:
            return known
        with self._lock:
            # Another thread may have fetched it meanwhile.
            known = _blocks.get(self.version, number)
            if known is not None:
                return known
            start = number * BLOCK
            data = self._fetch(start, min(start + run * BLOCK, self.size))
            for i in range(0, len(data), BLOCK):
                _blocks.put(self.version, number + i // BLOCK, data[i : i + BLOCK])
            return data[:BLOCK]

    def _changed(self) -> UserError:
        forget(self.version[0])
        return UserError(f"{self.version[0]}: was replaced while it was read: start again, once it stays as it is")


def source(version: Version) -> Source:
    """The source of a version of a file: one a process."""
    # A forked child must not share its parent's connections.
    return _source(version, os.getpid())


@lru_cache(maxsize=512)
def _source(version: Version, process: int) -> Source:
    return Source(version)


class RemoteFile(io.RawIOBase):
    """A file of a storage, open for reading. A read may give less than asked for: it never waits for two requests."""

    def __init__(self, version: Version) -> None:
        self._source = source(version)
        self._position = 0
        self._held, self._held_at = b"", 0
        self._wanted = range(0)
        self._run, self._expected = 1, -1

    def want(self, start: int, stop: int) -> None:
        """Say that the bytes start..stop will be read: their first `MOST_HELD` are fetched, by one request."""
        self._wanted = range(start, min(stop, self._source.size))
        if start < len(self._held) + self._held_at and start >= self._held_at:
            return
        if self._wanted:
            self._hold(start)

    def _hold(self, at: int) -> None:
        stop = min(self._wanted.stop, at + MOST_HELD)
        self._held, self._held_at = b"", at  # the old part goes before the new one comes
        self._held = self._source.fetch(at, stop)

    def readinto(self, buffer: Any) -> int:
        """Read up to len(buffer) bytes. Raises StorageError or UserError in one line."""
        view, at = memoryview(buffer).cast("B"), self._position
        if at >= self._source.size or not view:
            return 0
        if not self._held_at <= at < self._held_at + len(self._held) and at in self._wanted:
            self._hold(at)
        if self._held_at <= at < self._held_at + len(self._held):
            data, offset = self._held, at - self._held_at
        else:
            data, offset = self._block(at // BLOCK), at % BLOCK
        part = memoryview(data)[offset : offset + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _block(self, number: int) -> bytes:
        if number != self._expected:
            self._run = 1
        block = self._source.block(number, self._run)
        if number + 1 != self._expected:  # once a block, however many reads it serves
            self._run = min(2 * self._run, MOST_RUN // BLOCK)
            self._expected = number + 1
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place; nothing is fetched."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._source.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The place of the next read."""
        return self._position

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True


class Ahead:
    """What threads fetch before it is asked for, by a name. Nothing is kept once it is taken."""

    def __init__(self, most: int = MOST_AHEAD) -> None:
        """`most` files are kept that nobody has taken: the oldest goes then."""
        self.most = most
        self._pending: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._lock = Lock()

    def begin(self, name: Hashable, fetch: Callable[[], Any]) -> None:
        """Start fetching, unless that has been begun."""
        with self._lock:
            if self._pool is None or self._pool[0] != os.getpid():  # threads do not outlive a fork
                self._pool = os.getpid(), ThreadPoolExecutor(THREADS, "na_ray fetches ahead")
                self._pending.clear()
            if name in self._pending:
                return
            self._pending[name] = self._pool[1].submit(fetch)
            while len(self._pending) > self.most:
                self._pending.popitem(last=False)[1].cancel()

    def take(self, name: Hashable, fetch: Callable[[], Any]) -> Any:
        """What was fetched ahead, or else is fetched now. Raises what fetching raises."""
        with self._lock:
            ours = self._pool is not None and self._pool[0] == os.getpid()
            pending = self._pending.pop(name, None) if ours else None
        return fetch() if pending is None else pending.result()


ahead = Ahead()
"""The one of this process."""
