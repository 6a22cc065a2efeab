"""The state of a sweep: what is known of each trial, on disk, so that a killed sweep goes on where it was.

<storage>/<name>-sweep/sweep.json          the space and how it is searched
                       tracking.json       its MLflow run
                       trials/NNN/         a run's folder (na_ray.run.train.run_folder), and trial.json
                       turns/NN.json       population-based training: who copied whom
                       ray/                what Ray keeps for itself
"""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from na_ray.checkpoint import write_json
from na_ray.config import Experiment, StageName, override
from na_ray.config.files import read_json, to_json
from na_ray.run.sweep.search_space import Knobs
from na_ray.run.train.run_folder import RunFolder

TrialState = Literal["waiting", "running", "resting", "finished", "stopped", "failed"]
"""waiting: to be started, or to be gone on with. resting: at a generation's end. stopped: early, by the scheduler."""

ENDED: tuple[TrialState, ...] = ("finished", "stopped", "failed")
SCORE = "validation/psnr"


@dataclass
class Trial:
    """One trial: its knobs and what became of it."""

    number: int
    knobs: Knobs
    state: TrialState = "waiting"
    error: str = ""
    generation: int = 0
    """Population-based training: generations completed."""
    lineage: list[str] = field(default_factory=list)
    """Population-based training: what was copied and changed, a line each."""
    attempts: list[list[float]] = field(default_factory=list)
    """Begin and end of each stretch that it ran, Unix seconds."""
    deaths: int = 0
    """Times in a row that its process died without a new checkpoint in between."""
    died_at: str = ""
    """The latest checkpoint when it died last."""

    @property
    def name(self) -> str:
        """`003`."""
        return f"{self.number:03d}"

    @property
    def seconds(self) -> float:
        """Time that it ran, all attempts together."""
        return sum((end - begin for begin, end in self.attempts), 0.0)


class SweepState:
    """The trials of a sweep. The driver alone writes it."""

    def __init__(self, root: Path, experiment: Experiment, stage: StageName) -> None:
        self.root, self.experiment, self.stage = root, experiment, stage
        self.trials: list[Trial] = []
        for path in sorted(root.glob("trials/*/trial.json")):
            self.trials.append(Trial(**read_json(path, "number", "knobs")))
        for trial in self.trials:
            if trial.state == "running":  # when the driver was killed
                trial.attempts[-1][1] = max(trial.attempts[-1][0], self._last_sign(trial))
                self.end(trial, "finished" if self.is_done(trial) else "waiting", at=trial.attempts[-1][1])

    def folder(self, trial: Trial) -> Path:
        """Where a trial's run lies."""
        return self.root / "trials" / trial.name

    def run(self, trial: Trial) -> RunFolder:
        """A trial's run, at the stage that the sweep trains."""
        return RunFolder(self.folder(trial), self.stage, self.experiment.train.keep_last)

    def experiment_of(self, trial: Trial) -> Experiment:
        """The experiment with a trial's knobs."""
        return override(self.experiment, trial.knobs | {"storage": str(self.root / "trials")})

    def add(self, knobs: Knobs) -> Trial:
        """A new trial, written to disk before it starts."""
        trial = Trial(len(self.trials), knobs)
        self.run(trial).folder.mkdir(parents=True, exist_ok=True)
        self.trials.append(trial)
        self.change(trial, knobs=knobs)
        return trial

    def change(self, trial: Trial, **changes: Any) -> None:
        """Change what is known of a trial, and keep it."""
        for name, value in changes.items():
            setattr(trial, name, value)
        if "knobs" in changes:
            write_json(self.folder(trial) / "experiment.json", to_json(self.experiment_of(trial)))
        write_json(self.folder(trial) / "trial.json", dataclasses.asdict(trial))

    def begin(self, trial: Trial) -> None:
        """A trial starts, or goes on."""
        now = time.time()
        self.change(trial, state="running", attempts=[*trial.attempts, [now, now]])

    def end(self, trial: Trial, state: TrialState, error: str = "", at: float | None = None) -> None:
        """A trial ended, rests, or waits to be gone on with. `at`: when it ended, Unix seconds; None: now."""
        if trial.state == "running":
            trial.attempts[-1][1] = time.time() if at is None else at
        if state in ENDED:  # nobody goes on from it
            self.run(trial).checkpoints.keep_best()
        self.change(trial, state=state, error=error)

    def died(self, trial: Trial) -> int:
        """A trial's process died. Returns how often it did so without a new checkpoint in between.

        What ended a stretch otherwise, a generation or a budget, does not count.
        """
        latest = self.run(trial).checkpoints.latest()
        place = f"{trial.generation} {latest.name if latest else ''}"
        self.change(trial, deaths=trial.deaths + 1 if place == trial.died_at else 1, died_at=place)
        return trial.deaths

    def validations(self, trial: Trial) -> list[dict[str, Any]]:
        """The lines of a trial's record that hold scores."""
        return [line for line in self.run(trial).record(0)[0] if SCORE in line["metrics"]]

    def steps(self, trial: Trial) -> int:
        """Steps done, by the trial's record."""
        return max((line["step"] for line in self.run(trial).record(0)[0]), default=0)

    def score(self, trial: Trial) -> float | None:
        """Validation PSNR (dB) of the trial's best checkpoint; None before the first validation."""
        best = self.run(trial).checkpoints.best()
        return None if best is None else read_json(best / "metrics.json").get(SCORE)

    def ranking(self) -> list[Trial]:
        """Trials by score, best first; those that failed or have none come last."""

        def key(trial: Trial) -> tuple[bool, float]:
            score = self.score(trial)
            return (trial.state == "failed" or score is None, -(score or 0.0))

        return sorted(self.trials, key=key)

    def best(self) -> Trial | None:
        """The trial with the highest score."""
        found = [t for t in self.ranking() if t.state != "failed" and self.score(t) is not None]
        return found[0] if found else None

    def is_done(self, trial: Trial) -> bool:
        """Whether the trial's own process recorded that it trained to the last step."""
        return (self.folder(trial) / "done.json").exists()

    def seconds(self) -> float:
        """Time of all trials together, those that run included."""
        running = [time.time() - t.attempts[-1][1] for t in self.trials if t.state == "running"]
        return sum((t.seconds for t in self.trials), 0.0) + sum(running)

    def _last_sign(self, trial: Trial) -> float:
        lines, _ = self.run(trial).record(0)
        return max((line["time"] for line in lines), default=0.0)
