"""A sweep that is asked to end. SIGTERM: the trials under way save checkpoints first. Ctrl-C: at once."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from na_ray.run.train.interrupt import GRACE, STOP, Terminated, interrupt_main_thread


@contextlib.contextmanager
def ending_by_signals(end: Callable[[], list[Path]]) -> Iterator[None]:
    """While the body of the `with` runs Ray Tune: SIGTERM asks the trials to save, and starts no more of them.

    `end` stops further trials and gives the folders of the stages under way. Raises Terminated when these have ended,
    or after `GRACE` seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise Terminated
        asked.set()
        for folder in end():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / STOP).touch()
        print("SIGTERM: the trials save checkpoints, then the sweep ends", file=sys.stderr, flush=True)
        late.start()

    # Ray Tune's own way to end at once.
    late = threading.Timer(GRACE, interrupt_main_thread)
    late.daemon = True
    before = signal.signal(signal.SIGTERM, ask), signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        late.cancel()
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    if asked.is_set():
        raise Terminated
