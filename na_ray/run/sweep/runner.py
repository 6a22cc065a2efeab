"""Between Ray Tune and the sweep's state: which trial starts next, which stops, and what became of each."""

import logging
import shutil
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from na_ray.checkpoint import write_json
from na_ray.config.files import read_json
from na_ray.run.sweep.config import Budget
from na_ray.run.sweep.forwarder import say
from na_ray.run.sweep.interrupt import ending_by_signals
from na_ray.run.sweep.schedulers import Scheduler
from na_ray.run.sweep.search_space import Knobs
from na_ray.run.sweep.state import ENDED, SCORE, SweepState, Trial, TrialState
from na_ray.run.sweep.trial import Share, make_trainable
from na_ray.run.train.interrupt import STOP

# Seconds between two writes of the wall time spent: a kill loses no more of it.
NOTE = 2.0


@dataclass
class SweepRunner:
    """A sweep under way: its state, its scheduler, and the trials that run. Ray Tune calls it in one thread."""

    sweep_state: SweepState
    scheduler: Scheduler
    budget: Budget
    gpus: int
    """GPUs that a trial holds."""
    total: int
    """Trials in all."""
    propose: Any
    """(number, trials that have ended with their scores) to the knobs of a new trial."""
    active: dict[str, int] = field(default_factory=dict)
    """Ray Tune's names of the trials under way, and their numbers."""
    decisions: dict[int, TrialState] = field(default_factory=dict)
    """What was decided of trials that Ray Tune is about to stop."""
    earlier: float = 0.0
    """Seconds of wall time that earlier starts spent."""
    began: float = field(default_factory=time.monotonic)
    noted: float = 0.0
    ending: bool = False
    """Whether no more trials are started, since the sweep was asked to end."""

    def __post_init__(self) -> None:
        path = self.sweep_state.root / "spent.json"
        if path.exists():
            self.earlier = float(read_json(path, "wall_seconds")["wall_seconds"])

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray Tune writes those who call this to its own files, and there the addresses' secrets would stand.
        What a sweep goes on from is in `sweep_state`."""
        return {}

    @property
    def wall(self) -> float:
        """Seconds of wall time, all starts together."""
        return self.earlier + time.monotonic() - self.began

    def is_spent(self) -> bool:
        """Whether the budget is used up; notes the time on the way."""
        if self.wall - self.noted > NOTE:
            self.note()
        return self.budget.is_spent(self.wall, self.sweep_state.seconds(), self.gpus)

    def note(self) -> None:
        """Keep the wall time spent."""
        self.noted = self.wall
        write_json(self.sweep_state.root / "spent.json", {"wall_seconds": self.wall})

    def is_over(self) -> bool:
        """Whether all trials have ended."""
        return len(self.sweep_state.trials) >= self.total and all(t.state in ENDED for t in self.sweep_state.trials)

    def next(self) -> Trial | None:
        """The trial to start or to go on with; None: there is none, for now."""
        busy = set(self.active.values())
        waiting = [t for t in self.sweep_state.trials if t.state == "waiting" and t.number not in busy]
        if waiting:
            return waiting[0]
        if len(self.sweep_state.trials) < self.total:
            return self.sweep_state.add(self.propose(len(self.sweep_state.trials), self._told()))
        if busy:
            return None
        self.scheduler.next_generation()
        return next((t for t in self.sweep_state.trials if t.state == "waiting"), None)

    def _told(self) -> list[tuple[Knobs, float]]:
        scored = [
            (t.knobs, self.sweep_state.score(t)) for t in self.sweep_state.trials if t.state in ("finished", "stopped")
        ]
        return [(knobs, score) for knobs, score in scored if score is not None]

    def end(self) -> list[Path]:
        """Start no more trials. Returns the folders of the stages under way."""
        self.ending = True
        return [self.stage_folder(self.sweep_state.trials[number]) for number in self.active.values()]

    def stage_folder(self, trial: Trial) -> Path:
        """Where a trial trains."""
        return self.sweep_state.folder(trial) / self.sweep_state.stage

    def of(self, trial: Any) -> Trial:
        """The sweep's own trial behind one of Ray Tune's."""
        return self.sweep_state.trials[self.active[trial.trial_id]]


class Proposals(Searcher):
    """Gives Ray Tune the trials that wait, then new ones."""

    def __init__(self, runner: SweepRunner) -> None:
        super().__init__()
        self.runner = runner

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next trial: its folder and stage."""
        if self.runner.ending or self.runner.is_spent() or self.runner.is_over():
            return Searcher.FINISHED
        trial = self.runner.next()
        if trial is None:
            return Searcher.FINISHED if self.runner.is_over() else None
        (self.runner.stage_folder(trial) / STOP).unlink(missing_ok=True)
        self.runner.active[trial_id] = trial.number
        return {"trial": str(self.runner.sweep_state.folder(trial)), "stage": self.runner.sweep_state.stage}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing to do: the sweep's state has it already."""

    def save(self, checkpoint_path: str) -> None:
        """Ray Tune asks for a file. Nothing to write: what matters is in the sweep's state."""
        with open(checkpoint_path, "w") as file:
            file.write("{}")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to read: the sweep's state was read when the sweep started."""


class TuneScheduler(FIFOScheduler):
    """Asks the sweep's scheduler after each validation."""

    def __init__(self, runner: SweepRunner) -> None:
        super().__init__()
        self.runner = runner

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Stop a trial or let it go on."""
        if SCORE not in result:
            return TrialScheduler.CONTINUE
        own = self.runner.of(trial)
        decide = self.runner.scheduler.decide(own, int(result["step"]), float(result[SCORE]))
        if decide is None:
            return TrialScheduler.CONTINUE
        self.runner.decisions[own.number] = decide
        return TrialScheduler.STOP


class Bookkeeper(tune.Callback):
    """Writes to the sweep's state what becomes of the trials."""

    def __init__(self, runner: SweepRunner) -> None:
        self.runner = runner

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process is there."""
        self.runner.sweep_state.begin(self.runner.of(trial))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end, or was stopped by the scheduler or the budget."""
        runner, own = self.runner, self.runner.of(trial)
        state = runner.decisions.pop(own.number, None) or ("finished" if runner.sweep_state.is_done(own) else "waiting")
        runner.sweep_state.end(own, state)
        del runner.active[trial.trial_id]
        if state == "stopped":
            say(f"trial {own.name} stopped early, at step {runner.sweep_state.steps(own)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed: by an error of its own, which is final, or because its process died."""
        runner, own = self.runner, self.runner.of(trial)
        path = runner.sweep_state.folder(own) / "error.txt"
        limit = runner.sweep_state.experiment.train.max_failures
        deaths = runner.sweep_state.died(own)
        if path.exists():
            runner.sweep_state.end(own, "failed", path.read_text().splitlines()[-1])
        elif deaths > limit:
            why = f"its process died {deaths} times without a new checkpoint (out of memory?)"
            runner.sweep_state.end(own, "failed", why)
        else:
            runner.sweep_state.end(own, "waiting")
        del runner.active[trial.trial_id]
        say(f"trial {own.name} {'failed: ' + own.error if own.error else 'died, and is started again'}")


class OutOfBudget(tune.Stopper):
    """Ends all trials when the budget is used up: they could go on, with a larger one."""

    def __init__(self, runner: SweepRunner) -> None:
        self.runner = runner

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped alone."""
        return False

    def stop_all(self) -> bool:
        """Whether to end all trials; Ray Tune asks after every event."""
        return self.runner.is_spent()


def run(runner: SweepRunner, share: Share) -> None:
    """Run the trials until all have ended or the budget is used up. Raises KeyboardInterrupt for Ctrl-C and, when the
    trials have saved checkpoints, for SIGTERM."""
    if runner.is_over() or runner.is_spent():
        return
    sweep_state = runner.sweep_state
    # Of an earlier start: nobody goes on from it, and some versions wrote the secrets of addresses there.
    shutil.rmtree(sweep_state.root / "ray", ignore_errors=True)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failed trial has its own line
    tuner = tune.Tuner(
        make_trainable(share, sweep_state.experiment),
        tune_config=tune.TuneConfig(
            search_alg=Proposals(runner),
            scheduler=TuneScheduler(runner),
            num_samples=-1,
            max_concurrent_trials=share.concurrent,
            # A process that has imported torch serves the next trial too; one that has workers below it does not.
            reuse_actors=sweep_state.experiment.train.num_workers == 0,
        ),
        run_config=tune.RunConfig(
            name=f"tune-{uuid.uuid4().hex[:8]}",
            storage_path=str(sweep_state.root / "ray"),
            callbacks=[Bookkeeper(runner)],
            stop=OutOfBudget(runner),
            verbose=0,
        ),
    )
    try:
        with ending_by_signals(runner.end):
            tuner.fit()
        if not (runner.is_over() or runner.is_spent()):
            raise KeyboardInterrupt  # which Ray Tune takes as the end
    finally:
        for trial in sweep_state.trials:
            if trial.state == "running":
                sweep_state.end(trial, "waiting")
        runner.note()
