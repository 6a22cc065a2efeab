"""Follow a run's record of metrics from the driver: show progress, and carry each line to MLflow once.

The record on disk is the outbox. Training only ever appends to it; when MLflow is away, training goes on, and the lines
are delivered when it is back. After a resume the lines that were delivered before are recognized by their step.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from na_ray.run.tracking.progress import ProgressDisplay, Shows, Silence, say
from na_ray.run.tracking.runs import Tracker
from na_ray.run.tracking.store import TrackingError
from na_ray.run.train import disk
from na_ray.run.train.run_folder import RunFolder

# Seconds between two looks at the record, and the longest wait for an MLflow that is away when training has ended.
PERIOD = 1.0
PATIENCE = 300.0


class Follower:
    """Reads the record to its end, again and again, until training is over."""

    def __init__(self, run: RunFolder, tracker: Tracker, progress: Shows) -> None:
        self.run, self.tracker, self.progress = run, tracker, progress
        lines, self.offset = run.record(0)  # of an earlier attempt: perhaps not all of it was delivered
        self.waiting = [line for line in lines if line["metrics"]]
        self.monitor = disk.DiskMonitor(run.folder, run.checkpoints.root)
        self.delivered: dict[str, int] | None = None
        """The last delivered step of each kind of line; None: to be asked again."""
        self.away, self.refused = False, False

    def _ask(self) -> dict[str, int]:
        """The last delivered step of each kind of line, as MLflow knows it."""
        return {name: self.tracker.last_step(name) for name in ("loss", "validation/psnr")}

    def look(self) -> None:
        """Show and deliver what is new; keep it when MLflow does not answer."""
        lines, self.offset = self.run.record(self.offset)
        self.waiting += [line for line in lines if line["metrics"]]
        for line in lines:
            self.progress.show(line)
        self.progress.tell(self.monitor.look())
        if not self.waiting:
            return
        try:
            if self.refused and self.tracker.restore():
                self.progress.tell("its run was deleted in MLflow, and is restored: it is trained")
            self._deliver()
            self.away = self.refused = False
        except TrackingError as error:
            if not self.away:
                said = "refuses" if error.final else "does not answer"
                say(f"MLflow {said} ({error}): training goes on, the metrics wait")
            self.away, self.refused = True, error.final
            self.delivered = None  # the request that failed may have been carried out all the same

    def _deliver(self) -> None:
        if self.delivered is None:
            self.delivered = self._ask()
        fresh, reached = [], dict(self.delivered)
        for line in self.waiting:  # steps that were done twice, after a resume, count once: the first time
            kind = "loss" if "loss" in line["metrics"] else "validation/psnr"
            if line["step"] > reached[kind]:
                fresh.append(line)
                reached[kind] = line["step"]
        for line in fresh:
            if "pictures" in line and (self.run.root / line["pictures"]).is_dir():  # else they were removed meanwhile
                self.tracker.pictures(self.run.root / line["pictures"], line["step"])
        self.tracker.log(fresh)
        self.delivered, self.waiting = reached, []


@contextlib.contextmanager
def repeating(look: Callable[[], object]) -> Iterator[None]:
    """Call `look` every `PERIOD` in a thread while the body of the `with` runs; it no longer runs behind it.

    What goes wrong in it is told, once for each new message, and it is called again: training does not depend on it.
    """
    over = threading.Event()

    def loop() -> None:
        told = ""
        while not over.wait(PERIOD):
            try:
                look()
            except Exception as error:
                message = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                if message != told:
                    say(f"the record could not be followed ({message}): training goes on")
                told = message

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def following(run: RunFolder, tracker: Tracker, steps: int) -> Iterator[None]:
    """Follow the record in a thread while the body of the `with` trains for `steps`; deliver the rest at its end."""
    progress = ProgressDisplay(steps, run.stage)
    follower, silence = Follower(run, tracker, progress), Silence()

    def look() -> None:
        before = follower.offset
        follower.look()
        progress.tell(silence.look(follower.offset > before))

    patience = 0.0  # what ends early ends at once: --resume auto delivers the rest
    try:
        with repeating(look):
            yield
        patience = PATIENCE
    finally:
        until = time.monotonic() + patience
        follower.look()
        while follower.waiting and not follower.refused and time.monotonic() < until:
            time.sleep(PERIOD)
            follower.look()
        progress.close()
        if follower.waiting:
            print(
                f"{len(follower.waiting)} lines of metrics did not reach MLflow: they stay in "
                f"{run.folder}/metrics.jsonl; --resume auto delivers them",
                file=sys.stderr,
            )
