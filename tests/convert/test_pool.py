"""Work shared among processes: results, steps, errors, and a process that is killed."""

import os
import signal
from collections.abc import Callable

import pytest

from na_ray.config.values import UserError
from na_ray.convert.pool import share_out


def work(job: int, step: Callable[[], object]) -> int:
    step()
    if job == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_with_the_place_of_their_job(workers: int) -> None:
    steps: list[None] = []
    assert dict(share_out(work, [5, 1, 2, 7], workers, lambda: steps.append(None))) == {0: 25, 1: 1, 2: 4, 3: 49}
    assert len(steps) == 4


def test_a_process_that_is_killed_is_one_line() -> None:
    with pytest.raises(
        UserError, match=r"^a process was killed, for want of memory it seems: use fewer \(--workers\)$"
    ):
        dict(share_out(work, [1, 3, 4], 2, lambda: None))
