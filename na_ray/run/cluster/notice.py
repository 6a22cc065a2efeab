"""Save a checkpoint when a machine is about to be taken (a spot machine, a drained node).

Ray knows of it as a node that drains: Kubernetes says so when a pod is to end (SIGTERM), and on AWS
`na_ray.run.cluster.spot_watcher` says so when a spot machine is taken back. Ray Train tells the workers, starts them
again elsewhere when the time is over, and does not count that as a failure.
"""

import time
from collections.abc import Callable

import ray.train
import ray.train.collective

# Seconds between two questions to Ray: all workers wait for each other then, for some milliseconds.
PERIOD = 5.0
# A second checkpoint is written when so many seconds are left: what is done behind it is done twice.
LAST = 30.0


def time_left() -> float | None:
    """Seconds until a machine of this training is taken; None: none will be. All workers ask, and get one answer."""
    info = ray.train.get_preemption_info()
    if info is None:
        return None
    left = LAST if info.deadline_ms is None else info.deadline_ms / 1000 - time.time()
    return ray.train.collective.broadcast_from_rank_zero(max(0.0, left))


class PreemptionWatch:
    """When a checkpoint is due beside the regular ones: at the same steps on all workers, which write it together."""

    def __init__(self, ask: Callable[[], float | None]) -> None:
        self.ask, self.every, self.left = ask, 1, float("inf")

    def set_speed(self, steps_per_second: float) -> None:
        """How fast training is, as all workers have agreed on it."""
        self.every = max(1, int(PERIOD * steps_per_second))

    def looks(self, step: int) -> bool:
        """Whether this is one of the steps at which all workers ask."""
        return step % self.every == 0

    def due(self, step: int) -> bool:
        """Whether to write a checkpoint now: when the machine's end is first announced, and shortly before it."""
        if not self.looks(step):
            return False
        left = self.ask()
        if left is None:
            self.left = float("inf")
            return False
        first, last = self.left == float("inf"), left <= LAST < self.left
        self.left = left
        return first or last
