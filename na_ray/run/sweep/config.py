"""How a sweep is searched and what it may cost: its options, without the libraries that carry it out."""

import re
from dataclasses import dataclass
from typing import Literal

from na_ray.config.values import UserError

Search = Literal["optuna", "random", "grid"]
SchedulerName = Literal["asha", "pbt", "none"]


@dataclass(frozen=True)
class Budget:
    """A bound on the time of a sweep: wall time, or GPUs times the time that trials hold them. Starts included."""

    minutes: float | None = None
    gpu_hours: float | None = None

    @staticmethod
    def parse(text: str) -> "Budget":
        """`90m`, `1.5h`, `12gpuh`; empty: no bound. Raises UserError, one line."""
        if not text:
            return Budget()
        found = re.fullmatch(r"([0-9]*\.?[0-9]+)(m|h|gpuh)", text)
        if found is None or float(found[1]) <= 0:
            raise UserError(f"--budget {text}: write minutes or hours of wall time (90m, 1.5h) or GPU-hours (12gpuh)")
        amount = float(found[1])
        if found[2] == "gpuh":
            return Budget(gpu_hours=amount)
        return Budget(minutes=amount * (60 if found[2] == "h" else 1))

    def is_spent(self, wall_seconds: float, trial_seconds: float, gpus_per_trial: int) -> bool:
        """Whether the sweep must stop now."""
        over = self.minutes is not None and wall_seconds >= 60 * self.minutes
        return over or (self.gpu_hours is not None and trial_seconds * gpus_per_trial >= 3600 * self.gpu_hours)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How a sweep is searched, and what it may cost."""

    trials: int = 12
    """Trials in all; a grid has as many as it has points."""
    concurrent: int = 0
    """Trials side by side. 0: as many as the cluster holds."""
    search: Search = "optuna"
    """optuna: from what earlier trials scored. random: independent draws. grid: every combination of listed values."""
    scheduler: SchedulerName = "asha"
    """asha: stop the worse trials early. pbt: the worse copy the better, and change their knobs. none: train all."""
    budget: str = ""
    """Bound on wall time (90m, 1.5h) or GPU-hours (12gpuh), over all starts of the sweep; empty: none."""
    seed: int = 0
    """Seed of the search."""

    def __post_init__(self) -> None:
        if self.trials < 1 or self.concurrent < 0:
            raise UserError(f"--trials {self.trials} --concurrent {self.concurrent}: at least 1 and 0")
        Budget.parse(self.budget)
