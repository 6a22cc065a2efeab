"""SIGTERM, which a scheduler sends before it takes a job's machine: a checkpoint is saved, and training ends.

The driver leaves a file in the run's folder; the workers look for it every few seconds, save together, and stop. Ctrl-C
ends at once, from the last checkpoint.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from na_ray.config.values import UserError

STOP = "stop"
"""The file in a stage's folder that asks its workers to end."""

# Seconds for the checkpoint: schedulers kill what has not ended 30 s after SIGTERM.
GRACE = 25.0


class Terminated(KeyboardInterrupt):
    """SIGTERM came: whatever is under way ends as by Ctrl-C."""


class StoppedError(UserError):
    """A worker has saved a checkpoint because it was asked to end."""


def interrupt_main_thread() -> None:
    """As Ctrl-C does; also where the main thread waits. A process that was started with Ctrl-C ignored, as `nohup` and
    scripts do behind `&`, gets SIGTERM.
    """
    ident = threading.main_thread().ident
    assert ident is not None, "it runs"
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.pthread_kill(ident, signal.SIGTERM if ignored else signal.SIGINT)


def on_main_thread() -> bool:
    """Whether signals can be handled here."""
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def termination_raised() -> Iterator[None]:
    """SIGTERM raises Terminated in the body of the `with`, which then cleans up, instead of ending the process."""
    if not on_main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def asked_first(ask: Callable[[], None]) -> Iterator[threading.Event]:
    """SIGTERM calls `ask` in the body of the `with`, which then ends by itself; a second one raises Terminated, and
    after `GRACE` seconds the main thread is interrupted. Gives what is set when the first comes.
    """
    asked = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise Terminated
        asked.set()
        ask()
        late.start()

    late = threading.Timer(GRACE, interrupt_main_thread)
    late.daemon = True
    before = signal.signal(signal.SIGTERM, end), signal.getsignal(signal.SIGINT)
    try:
        yield asked
    finally:
        late.cancel()
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


@contextlib.contextmanager
def stop_on_termination(folder: Path) -> Iterator[None]:
    """While the body of the `with` trains the stage of a folder: SIGTERM asks its workers to save and to end.

    Raises Terminated then, when they have, or after `GRACE` seconds. Raises KeyboardInterrupt for Ctrl-C, also where
    Ray turns it into the end of the process.
    """
    (folder / STOP).unlink(missing_ok=True)
    if not on_main_thread():  # a trial of a sweep: what ends it is the sweep's driver
        yield
        return

    def ask() -> None:
        (folder / STOP).touch()
        print("SIGTERM: saving a checkpoint, then ending", file=sys.stderr, flush=True)

    with asked_first(ask) as asked:
        try:
            yield
        except (UserError, KeyboardInterrupt, SystemExit) as error:  # Ray's handler of Ctrl-C exits, with code 0
            if asked.is_set():
                raise Terminated from error
            if isinstance(error, SystemExit):
                raise KeyboardInterrupt from error
            raise
        finally:
            (folder / STOP).unlink(missing_ok=True)
