"""When workers fail: which failures end the run, and with which message."""

from typing import TYPE_CHECKING, Any

from ray.exceptions import RayActorError
from ray.train import UserCallback
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from na_ray.config.values import MISTAKES, StorageError, UserError
from na_ray.run.train.interrupt import StoppedError

if TYPE_CHECKING:
    from na_ray.checkpoints import Checkpoints


class RestartPolicy(UserCallback):
    """Lets Ray start the workers again as long as training gets further: Ray's controller calls it at each failure.

    It ends the run for a user's mistake, which another try would only repeat, and at the failure number `limit` + 1
    without a new checkpoint in between. Storage that is away is tried again; machines that were taken with a notice do
    not count.
    """

    def __init__(self, checkpoints: "Checkpoints", limit: int) -> None:
        self.root, self.keep_last, self.limit, self.failures = checkpoints.root, checkpoints.keep_last, limit, 0
        self.latest = checkpoints.latest()

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Raises what is to end the run."""
        causes = [c for failure in worker_exceptions.values() for c in (failure, failure.__cause__)]
        for cause in causes:
            if isinstance(cause, MISTAKES) and not isinstance(cause, StorageError):
                raise UserError(last_line(cause))
        if any(isinstance(cause, RayActorError) and cause.preempted for cause in causes):
            return
        from na_ray.checkpoints import Checkpoints  # what it imports takes seconds: only where a worker failed

        latest = Checkpoints(self.root, self.keep_last).latest()
        self.failures, self.latest = (self.failures + 1 if latest == self.latest else 1), latest
        if self.failures > self.limit:
            for cause in causes:
                if isinstance(cause, StorageError):
                    raise StorageError(last_line(cause))
            messages = "; ".join(sorted({last_line(failure) for failure in worker_exceptions.values()}))
            trace = str(next(iter(worker_exceptions.values())))[-8000:]  # Ray puts the worker's traceback there
            raise RuntimeError(
                f"the workers failed {self.failures} times without a new checkpoint: {messages[:2000]}\n{trace}"
            )


def last_line(error: BaseException) -> str:
    """What an error says, without the traceback that Ray puts before it."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def mistake_in(error: TrainingFailedError) -> UserError | None:
    """The user's mistake that ended a training, to be raised as any other; None: something else ended it."""
    causes: list[Any] = []
    if isinstance(error, ControllerError):
        causes = [error.controller_failure, error.controller_failure.__cause__]
    elif isinstance(error, WorkerGroupError):
        causes = [c for failure in error.worker_failures.values() for c in (failure, failure.__cause__)]
    found = next((c for c in causes if isinstance(c, MISTAKES)), None)
    if isinstance(found, StoppedError):
        return StoppedError(last_line(found))
    return None if found is None else UserError(last_line(found))
