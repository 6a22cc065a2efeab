"""Send no more than the other side takes: the next message waits until the last one was taken.

A browser that is slow, hidden or behind a thin line gets fewer poses, each of them whole and the latest; none pile up.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Throttle:
    """One message under way. `confirm` blocks until the other side has taken all that was sent, and says whether it is
    still there."""

    def __init__(self, confirm: Callable[[], bool]) -> None:
        self._confirm = confirm
        self._lock = threading.Lock()
        self._free = threading.Event()
        self._free.set()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="view-taken")
        self.alive = True
        """Whether the other side was there when it was last asked."""

    @property
    def free(self) -> bool:
        """Whether the last message was taken."""
        return self._free.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait for that, so many seconds at most; whether it was."""
        return self._free.wait(timeout)

    def sent(self) -> None:
        """A message went out."""
        with self._lock:
            if self.alive:  # closed by another thread, as when the browser goes away in between
                self._free.clear()
                self._pool.submit(self._ask)

    def close(self) -> None:
        """Ask no more."""
        with self._lock:
            self.alive = False
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._free.set()

    def _ask(self) -> None:
        self.alive = self._confirm() and self.alive
        self._free.set()
