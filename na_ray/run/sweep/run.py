"""Ray Tune and the board: what is started next, what is stopped, what became of it."""

import json
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from na_ray.checkpoint import write_json
from na_ray.run.sweep.board import ENDED, SCORE, Board, State, Trial
from na_ray.run.sweep.config import Budget
from na_ray.run.sweep.follow import say
from na_ray.run.sweep.rules import Rule
from na_ray.run.sweep.space import Knobs
from na_ray.run.sweep.trial import Share, make_trainable

# Seconds between two notes of the wall time spent: what a kill forgets of it.
NOTE = 2.0


@dataclass
class Course:
    """The sweep as it runs: the board, who decides, and which trials are under way. Ray Tune calls it in one thread."""

    board: Board
    rule: Rule
    budget: Budget
    gpus: int
    """GPUs that a trial holds."""
    total: int
    """Trials in all."""
    propose: Any
    """(number, trials that have ended with their scores) to the knobs of a new trial."""
    active: dict[str, int] = field(default_factory=dict)
    """Ray Tune's names of the trials under way, and their numbers."""
    verdicts: dict[int, State] = field(default_factory=dict)
    """What was decided of trials that Ray Tune is about to stop."""
    earlier: float = 0.0
    """Seconds of wall time that earlier starts spent."""
    began: float = field(default_factory=time.monotonic)
    noted: float = 0.0

    def __post_init__(self) -> None:
        path = self.board.root / "spent.json"
        if path.exists():
            self.earlier = float(json.loads(path.read_text())["wall_seconds"])

    @property
    def wall(self) -> float:
        """Seconds of wall time, all starts together."""
        return self.earlier + time.monotonic() - self.began

    def is_spent(self) -> bool:
        """Whether the budget is used up; notes the time on the way."""
        if self.wall - self.noted > NOTE:
            self.note()
        return self.budget.is_spent(self.wall, self.board.seconds(), self.gpus)

    def note(self) -> None:
        """Keep the wall time spent."""
        self.noted = self.wall
        write_json(self.board.root / "spent.json", {"wall_seconds": self.wall})

    def is_over(self) -> bool:
        """Whether all trials have ended."""
        return len(self.board.trials) >= self.total and all(t.state in ENDED for t in self.board.trials)

    def next(self) -> Trial | None:
        """The trial to start or to go on with; None: there is none, for now."""
        busy = set(self.active.values())
        waiting = [t for t in self.board.trials if t.state == "waiting" and t.number not in busy]
        if waiting:
            return waiting[0]
        if len(self.board.trials) < self.total:
            return self.board.add(self.propose(len(self.board.trials), self._told()))
        if busy:
            return None
        self.rule.turn()
        return next((t for t in self.board.trials if t.state == "waiting"), None)

    def _told(self) -> list[tuple[Knobs, float]]:
        scored = [(t.knobs, self.board.score(t)) for t in self.board.trials if t.state in ("finished", "stopped")]
        return [(knobs, score) for knobs, score in scored if score is not None]

    def of(self, trial: Any) -> Trial:
        """The board's trial behind one of Ray Tune's."""
        return self.board.trials[self.active[trial.trial_id]]


class Proposals(Searcher):
    """Gives Ray Tune the trials that wait, then new ones."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next trial: its folder and stage."""
        if self.course.is_spent() or self.course.is_over():
            return Searcher.FINISHED
        trial = self.course.next()
        if trial is None:
            return Searcher.FINISHED if self.course.is_over() else None
        self.course.active[trial_id] = trial.number
        return {"trial": str(self.course.board.folder(trial)), "stage": self.course.board.stage}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The board knows already."""

    def save(self, checkpoint_path: str) -> None:
        """Ray Tune wants a file; what matters is on the board."""
        with open(checkpoint_path, "w") as file:
            file.write("{}")

    def restore(self, checkpoint_path: str) -> None:
        """The board is read when the sweep starts."""


class Verdicts(FIFOScheduler):
    """Asks the sweep's rule after each validation."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop a trial or let it go on."""
        if SCORE not in result:
            return TrialScheduler.CONTINUE
        own = self.course.of(trial)
        verdict = self.course.rule.verdict(own, int(result["step"]), float(result[SCORE]))
        if verdict is None:
            return TrialScheduler.CONTINUE
        self.course.verdicts[own.number] = verdict
        return TrialScheduler.STOP


class Bookkeeper(tune.Callback):
    """Writes to the board what becomes of the trials."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is there."""
        self.course.board.begin(self.course.of(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end, or was stopped by the rule or the budget."""
        course, own = self.course, self.course.of(trial)
        state = course.verdicts.pop(own.number, None) or ("finished" if course.board.is_done(own) else "waiting")
        course.board.end(own, state)
        del course.active[trial.trial_id]
        if state == "stopped":
            say(f"trial {own.name} stopped early, at step {course.board.steps(own)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed: by an error of its own, which is final, or because its process died."""
        course, own = self.course, self.course.of(trial)
        path = course.board.folder(own) / "error.txt"
        limit = course.board.experiment.train.max_failures
        if path.exists():
            course.board.end(own, "failed", path.read_text().splitlines()[-1])
        elif len(own.attempts) > limit:
            course.board.end(own, "failed", f"its process died {len(own.attempts)} times (out of memory?)")
        else:
            course.board.end(own, "waiting")
        del course.active[trial.trial_id]
        say(f"trial {own.name} {'failed: ' + own.error if own.error else 'died, and is started again'}")


class OutOfBudget(tune.Stopper):
    """Ends all trials when the budget is used up: they could go on, with a larger one."""

    def __init__(self, course: Course) -> None:
        self.course = course

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped alone."""
        return False

    def stop_all(self) -> bool:
        """Ray Tune asks all the time."""
        return self.course.is_spent()


def run(course: Course, share: Share) -> None:
    """Run the trials until all have ended or the budget is used up."""
    if course.is_over() or course.is_spent():
        return
    board = course.board
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # errors are told by the bookkeeper, a line each
    tuner = tune.Tuner(
        make_trainable(share),
        tune_config=tune.TuneConfig(
            search_alg=Proposals(course),
            scheduler=Verdicts(course),
            num_samples=-1,
            max_concurrent_trials=share.concurrent,
            # A process that has imported torch serves the next trial too; one that has workers below it does not.
            reuse_actors=board.experiment.train.num_workers == 0,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{uuid.uuid4().hex[:8]}",
            storage_path=str(board.root / "ray"),
            callbacks=[Bookkeeper(course)],
            stop=OutOfBudget(course),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    finally:
        for trial in board.trials:
            if trial.state == "running":
                board.end(trial, "waiting")
        course.note()
