"""Work shared among processes, a piece each at a time, that report every step they take.

A process whose parent is gone notices at its next step and cleans up behind itself, however the parent went.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from na_ray.config.values import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

Work = Callable[[Job, Callable[[], object]], Result]
"""What a process does with a piece: (the piece, what it calls after every step). A function of a module."""

_KILLED = "a process was killed, for want of memory it seems: use fewer (--workers)"
# Seconds that a process gets to clean up.
_GRACE = 10


def share_out(
    work: "Work[Job, Result]", jobs: Sequence[Job], workers: int, step: Callable[[], object]
) -> Iterator[tuple[int, Result]]:
    """(position of a job, its result) as they end; `step` is called at every step of any. With one worker: right here.

    What a worker raises is raised here, and the others stop.
    """
    if min(workers, len(jobs)) <= 1:
        for n, job in enumerate(jobs):
            yield n, work(job, step)
        return
    context = multiprocessing.get_context("spawn")
    pending = list(enumerate(jobs))[::-1]
    busy: dict[Any, int] = {}
    with ExitStack() as stack:
        for _ in range(min(workers, len(jobs))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, theirs), daemon=True)
            stack.callback(_end, process, ours)
            process.start()
            theirs.close()
            busy[ours] = _hand_out(ours, pending)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                kind, value = _receive(connection)
                if kind == "error":
                    raise value
                if kind == "step":
                    step()
                    continue
                yield busy.pop(connection), value
                if pending:
                    busy[connection] = _hand_out(connection, pending)


def _hand_out(connection: Connection, pending: list[tuple[int, Job]]) -> int:
    number, job = pending.pop()
    try:
        connection.send(job)
    except OSError:
        raise UserError(_KILLED) from None
    return number


def _receive(connection: Connection) -> tuple[str, Any]:
    try:
        return connection.recv()
    except (EOFError, OSError):
        raise UserError(_KILLED) from None


def _end(process: Any, connection: Connection) -> None:
    connection.close()
    process.join(_GRACE)
    if process.is_alive():
        process.terminate()
        process.join()


def _serve(work: "Work[Job, Result]", connection: Connection) -> None:
    """A process's life: jobs until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the parent ends what is to end
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, where it is
    try:
        while True:
            job = connection.recv()
            try:
                result = work(job, lambda: connection.send(("step", None)))
            except (EOFError, BrokenPipeError):
                return
            except Exception as error:
                connection.send(("error", error))
                return
            connection.send(("result", result))
    except (EOFError, OSError):
        return
