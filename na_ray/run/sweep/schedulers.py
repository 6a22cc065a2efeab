"""Which trials go on and which stop: successive halving, and population-based training.

A scheduler's state follows from the sweep's state on disk: after a restart it decides as if nothing had happened.
"""

import math
import os
import shutil
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.sample import Categorical, Domain

from na_ray.checkpoint import write_json
from na_ray.config.files import read_json
from na_ray.config.values import UserError
from na_ray.run.sweep.config import SchedulerName
from na_ray.run.sweep.search_space import Knobs, Space
from na_ray.run.sweep.state import SCORE, SweepState, Trial, TrialState
from na_ray.run.train.context import Schedule

SCHEDULES = {
    "optim.lr",
    "optim.decay_rate",
    "optim.decay_steps",
    "optim.color_weight",
    "optim.alpha_weight",
    "optim.clip_norm",
    "nerf.samples_per_ray",
    "nerf.density_noise",
    "data.rays_per_view",
    "texture.gan_weight",
    "texture.feature_weight",
    "texture.perceptual_weight",
    "texture.flow_weight",
}
"""Knobs that may change during training: neither the model's shape nor the optimizer's state depends on them."""


@runtime_checkable
class Scheduler(Protocol):
    """Decides after each validation of a trial."""

    def decide(self, trial: Trial, step: int, score: float) -> TrialState | None:
        """What becomes of a trial that has just been validated; None: it goes on."""

    def next_generation(self) -> None:
        """Called when no trial runs or waits: may set trials to waiting again."""


class TrainAll:
    """Every trial trains to its end."""

    def decide(self, trial: Trial, step: int, score: float) -> TrialState | None:
        """Nothing is stopped."""
        return None

    def next_generation(self) -> None:
        """Nothing to do: no trial rests."""


class Asha:
    """Asynchronous successive halving (Li et al. 2020) as Ray Tune has it, in training steps.

    Rungs are at the first validation x 3^k steps; of those that reach a rung, the worse two thirds stop there.
    """

    FACTOR = 3

    def __init__(self, sweep_state: SweepState, schedule: Schedule) -> None:
        self.steps = schedule.steps
        self.halving = AsyncHyperBandScheduler(
            time_attr="step",
            metric=SCORE,
            mode="max",
            max_t=schedule.steps,
            grace_period=min(schedule.validate_every, schedule.steps),
            reduction_factor=self.FACTOR,
            stop_last_trials=False,
        )
        self.known: set[int] = set()
        lines = [(line["time"], line, trial) for trial in sweep_state.trials for line in sweep_state.validations(trial)]
        for _, line, trial in sorted(lines, key=lambda item: item[0]):
            self.decide(trial, line["step"], line["metrics"][SCORE])

    def decide(self, trial: Trial, step: int, score: float) -> TrialState | None:
        """Stop a trial that is worse than its rung's cutoff; one that has trained to its end has finished."""
        # Ray names trials anew at each start. Here they keep their names, and each is halved at a rung once.
        named: Any = SimpleNamespace(trial_id=trial.name)
        if trial.number not in self.known:
            self.halving.on_trial_add(None, named)
            self.known.add(trial.number)
        decision = self.halving.on_trial_result(None, named, {"step": step, SCORE: score})
        return "stopped" if decision == TrialScheduler.STOP and step < self.steps else None

    def next_generation(self) -> None:
        """Nothing to do: no trial rests."""


class Population:
    """Population-based training (Jaderberg et al. 2017), in step: a generation ends at each validation.

    When all have come to its end, the worse quarter copies the checkpoints of the better quarter, and perturbs their
    knobs. All members are at the same step then, and what happens depends on the seed and the scores alone.
    """

    QUANTILE = 0.25
    RESAMPLE = 0.25
    FACTORS = (0.8, 1.2)

    def __init__(self, sweep_state: SweepState, schedule: Schedule, space: Space, seed: int) -> None:
        self.sweep_state, self.schedule, self.space, self.seed = sweep_state, schedule, space, seed

    def boundary(self, trial: Trial) -> int:
        """The step at which the trial's present generation ends."""
        return (trial.generation + 1) * self.schedule.validate_every

    def decide(self, trial: Trial, step: int, score: float) -> TrialState | None:
        """Rest at the end of a generation."""
        return "resting" if self.boundary(trial) <= step < self.schedule.steps else None

    def next_generation(self) -> None:
        """Begin the next generation. What is decided is written first, so that a kill half way changes nothing."""
        resting = [t for t in self.sweep_state.trials if t.state == "resting"]
        if not resting:
            return
        generation = min(t.generation for t in resting)
        members = [t for t in resting if t.generation == generation]
        path = self.sweep_state.root / "turns" / f"{generation:02d}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_json(path, self._decide(members, generation))
        decided = read_json(path)
        by_name = {t.name: t for t in self.sweep_state.trials}
        for trial in sorted(members, key=lambda t: t.name not in decided):  # donors keep their checkpoints until then
            changes: dict[str, Any] = {"state": "waiting", "generation": generation + 1}
            if trial.name in decided:
                donor = by_name[decided[trial.name]["donor"]]
                changes |= self._copy(donor, trial, self.boundary(trial), decided[trial.name]["knobs"])
            self.sweep_state.change(trial, **changes)

    def _decide(self, members: list[Trial], generation: int) -> dict[str, Any]:
        """For each trial in the worse quarter: which trial it copies, and its new knobs."""
        step = (generation + 1) * self.schedule.validate_every
        ranked = sorted(members, key=lambda t: (-self._score_at(t, step), t.number))
        count = math.ceil(len(ranked) * self.QUANTILE) if len(ranked) > 1 else 0
        decided = {}
        for trial in ranked[len(ranked) - count :]:
            random = np.random.default_rng((self.seed, generation, trial.number))
            donor = ranked[int(random.integers(count))]
            decided[trial.name] = {"donor": donor.name, "knobs": perturb(self.space, donor.knobs, random)}
        return decided

    def _score_at(self, trial: Trial, step: int) -> float:
        return next(line["metrics"][SCORE] for line in self.sweep_state.validations(trial) if line["step"] >= step)

    def _copy(self, donor: Trial, trial: Trial, step: int, knobs: Knobs) -> dict[str, Any]:
        """Put the donor's checkpoint in place of the trial's own: it will go on from there. Returns what changes."""
        source = self.sweep_state.run(donor).checkpoints.folder(step)
        checkpoints = self.sweep_state.run(trial).checkpoints
        checkpoints.root.mkdir(exist_ok=True)
        aside = checkpoints.root / f".{source.name}.{donor.name}"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(source, aside, copy_function=_link)
        for own in checkpoints.root.glob("step_*"):  # damaged ones too
            shutil.rmtree(own)
        os.replace(aside, checkpoints.folder(step))
        changed = ", ".join(f"{name} {trial.knobs[name]} -> {knobs[name]}" for name in knobs)
        return {"knobs": knobs, "lineage": [*trial.lineage, f"step {step}: from trial {donor.name}, {changed}"]}


def _link(source: str, target: str) -> None:
    """Files of a checkpoint are never written again: a second name for them is a copy that costs no space."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def perturb(space: Space, knobs: Knobs, random: np.random.Generator) -> Knobs:
    """Each knob a bit up or down, or drawn anew: values of a list go to a neighbour, numbers stay in their range."""
    return {name: _perturb(domain, knobs[name], random) for name, domain in space.items()}


def _perturb(domain: Domain, value: Any, random: np.random.Generator) -> Any:
    if random.random() < Population.RESAMPLE:
        drawn = domain.sample(random_state=np.random.RandomState(int(random.integers(2**31))))
        return drawn.item() if isinstance(drawn, np.generic) else drawn
    up = bool(random.integers(2))
    if isinstance(domain, Categorical):
        values = list(domain.categories)
        return values[min(max(values.index(value) + (1 if up else -1), 0), len(values) - 1)]
    low, high = domain.lower, domain.upper
    moved = min(max(value * Population.FACTORS[up], low), high)
    return min(round(moved), high - 1) if isinstance(value, int) else moved


def make_scheduler(
    name: SchedulerName, sweep_state: SweepState, schedule: Schedule, space: Space, seed: int
) -> Scheduler:
    """The scheduler of that name. Raises UserError where the space, or the lack of validations, rules it out."""
    every = f"{'texture' if sweep_state.stage == 'texture' else 'train'}.validate_every"
    if name == "none":
        return TrainAll()
    if not 0 < schedule.validate_every < schedule.steps:
        raise UserError(
            f"--scheduler {name} judges trials by validations on the way, and {every} is {schedule.validate_every} of "
            f"{schedule.steps} steps: lower it, or use --scheduler none"
        )
    lengths = [k for k in space if k in ("train.steps", every, "texture.epochs", "texture.steps")]
    if lengths:
        raise UserError(f"--scheduler {name} compares trials at equal steps: {lengths[0]} can vary with none only")
    if name == "asha":
        return Asha(sweep_state, schedule)
    others = [knob for knob in space if knob not in SCHEDULES]
    if others:
        raise UserError(
            f"--scheduler pbt changes knobs during training, and {others[0]} cannot: it can vary "
            f"{', '.join(sorted(SCHEDULES))}"
        )
    return Population(sweep_state, schedule, space, seed)
