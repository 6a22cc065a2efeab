"""Carry the trials' records to MLflow from the driver: one child run per trial, one writer for all of them."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from na_ray.run.sweep.state import ENDED, SCORE, SweepState, Trial, TrialState
from na_ray.run.tracking import runs
from na_ray.run.tracking.forwarder import PATIENCE, PERIOD, Follower, repeating
from na_ray.run.tracking.runs import Tracker
from na_ray.run.tracking.store import TrackingError

STATUS: dict[TrialState, str] = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
"""MLflow's word for the state of a trial that has ended; the tag `state` has ours."""


class Line:
    """Prints a trial's validations in plain lines."""

    def __init__(self, name: str) -> None:
        self.name = name

    def show(self, line: dict[str, Any]) -> None:
        """Print one line of the record, if it holds a validation or a note."""
        if SCORE in line["metrics"]:
            say(f"trial {self.name} step {line['step']}: validation PSNR {line['metrics'][SCORE]:.2f} dB")
        self.tell(line.get("note"))

    def tell(self, text: str | None) -> None:
        """Print a message, if there is one."""
        if text:
            say(f"trial {self.name}: {text}")


def say(text: str) -> None:
    """A line on the terminal, beside whatever bar is there."""
    tqdm.write(text, file=sys.stderr)


class SweepFollower:
    """Looks at all trials, again and again."""

    def __init__(self, sweep_state: SweepState, parent: Tracker) -> None:
        self.sweep_state, self.parent = sweep_state, parent
        self.followers: dict[int, Follower] = {}
        self.last_state: dict[int, tuple[TrialState, int]] = {}
        self.away = False

    def look(self) -> bool:
        """Deliver what is new of each trial. Returns whether all of it arrived."""
        arrived = True
        for trial in list(self.sweep_state.trials):
            if trial.attempts and not self._is_settled(trial):
                arrived &= self._look_at(trial)
        return arrived

    def _is_settled(self, trial: Trial) -> bool:
        """Whether a trial has ended, and all of it is in MLflow: there is nothing more to look at."""
        return trial.state in ENDED and self.last_state.get(trial.number) == (trial.state, trial.generation)

    def _look_at(self, trial: Trial) -> bool:
        state = (trial.state, trial.generation)
        try:
            if trial.number not in self.followers:
                self._open(trial)
            follower = self.followers[trial.number]
            follower.look()
            if follower.waiting:
                return False
            if self.last_state.get(trial.number) != state:
                self._mark(trial, follower.tracker)
                self.last_state[trial.number] = state
        except TrackingError as error:
            if not self.away:
                say(f"MLflow does not answer ({error}): the sweep goes on")
            self.away = True
            return False
        self.away = False
        return True

    def _open(self, trial: Trial) -> None:
        tags = {"trial": trial.name, "stage": self.sweep_state.stage}
        tracker = runs.child(self.parent, self.sweep_state.experiment_of(trial), f"trial {trial.name}", tags)
        self.followers[trial.number] = Follower(self.sweep_state.run(trial), tracker, Line(trial.name))

    def _mark(self, trial: Trial, tracker: Tracker) -> None:
        """Write the trial's state, and end its run if it has ended."""
        tags = {"state": trial.state, "error": trial.error, "lineage": "; ".join(trial.lineage)}
        tracker.tag({name: value[:5000] for name, value in tags.items() if value})
        if trial.state in ENDED:
            tracker.mark(STATUS[trial.state], trial.attempts[-1][1])
        else:
            tracker.mark("RUNNING")

    def interrupt(self) -> None:
        """The sweep ends: the runs of trials that were not trained to their end are KILLED."""
        for trial in self.sweep_state.trials:
            if trial.state not in ENDED and trial.number in self.followers:
                with contextlib.suppress(TrackingError):  # it is shown as running, and the sweep is over all the same
                    self.followers[trial.number].tracker.mark("KILLED")


@contextlib.contextmanager
def following(sweep_state: SweepState, parent: Tracker) -> Iterator[None]:
    """Follow the trials in a thread while the body of the `with` runs them; deliver the rest at its end."""
    follower = SweepFollower(sweep_state, parent)
    try:
        with repeating(follower.look):
            yield
    finally:
        until = time.monotonic() + PATIENCE
        while not follower.look():
            if time.monotonic() > until:
                say(f"not all metrics reached MLflow: they stay below {sweep_state.root}; --resume auto delivers them")
                break
            time.sleep(PERIOD)
        else:
            follower.interrupt()
