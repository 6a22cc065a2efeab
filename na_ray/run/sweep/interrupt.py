"""A sweep that is asked to end. SIGTERM: the trials under way save checkpoints first. Ctrl-C: at once."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from na_ray.run.train.interrupt import STOP, Terminated, asked_first, on_main_thread


@contextlib.contextmanager
def ending_by_signals(end: Callable[[], list[Path]]) -> Iterator[None]:
    """While the body of the `with` runs Ray Tune: SIGTERM asks the trials to save, and starts no more of them.

    `end` stops further trials and gives the folders of the stages under way. Raises Terminated when these have ended,
    or after the seconds that schedulers leave, when Ray Tune ends them at once.
    """
    if not on_main_thread():
        yield
        return

    def ask() -> None:
        for folder in end():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / STOP).touch()
        print("SIGTERM: the trials save checkpoints, then the sweep ends", file=sys.stderr, flush=True)

    with asked_first(ask) as asked:
        yield
    if asked.is_set():
        raise Terminated
