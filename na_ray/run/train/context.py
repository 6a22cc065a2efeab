"""What a stage gives the training loop, and what the loop gives a stage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed
from torch import Tensor

from na_ray.capture.rig import Rig
from na_ray.config import Experiment
from na_ray.run.data.frames import Row
from na_ray.run.train.run_folder import RunFolder


@dataclass(frozen=True)
class Worker:
    """Which worker this is, where it computes, and to whom it reports."""

    rank: int
    world: int
    device: torch.device
    report: Callable[[dict[str, float]], None]
    """Called with each validation, by every worker at the same steps: Ray Train's report holds all of them until its
    controller looks next (`RAY_TRAIN_HEALTH_CHECK_INTERVAL_S`). The run's record is for what happens more often."""
    time_left: Callable[[], float | None] = lambda: None
    """Seconds until a machine is taken, if one will be; asked by every worker at the same steps."""

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Average over the workers."""
        if self.world == 1:
            return values
        packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device).float()
        torch.distributed.all_reduce(packed)
        return dict(zip(values, (packed / self.world).tolist(), strict=True))


@dataclass(frozen=True)
class Schedule:
    """How long a stage trains, and how often it is looked at, in steps."""

    steps: int
    checkpoint_every: int
    validate_every: int
    """0: only at the end."""


@dataclass(frozen=True)
class TrainContext:
    """Where a worker trains: everything but the model."""

    experiment: Experiment
    rig: Rig
    run: RunFolder
    worker: Worker


@runtime_checkable
class Trainer(Protocol):
    """A stage's model, optimizers and losses, as the loop drives them."""

    schedule: Schedule
    unit: str
    """What a step's work is counted in: `rays` or `frames`."""
    remedy: str
    """What the user may do when the loss is not finite."""

    def step(self, rows: list[Row], step: int) -> tuple[dict[str, Tensor], int]:
        """Do step number `step` (from 0) with the worker's rows. Returns losses, on the device, and the work done."""

    def describe(self, means: dict[str, float], step: int) -> dict[str, float]:
        """What is reported of the mean losses of the steps that ended with `step`; it has `loss`, `psnr` and `lr`."""

    def sync_buffers(self) -> None:
        """Make the workers' copies of the model one, before it is looked at."""

    def validate(self, step: int) -> dict[str, float]:
        """Scores, which have `validation/psnr`; they are in the run's record then. All workers call it."""

    def weights(self) -> dict[str, Any]:
        """The state dict that a checkpoint of the stage holds."""

    def training(self) -> dict[str, Any]:
        """What going on from a checkpoint needs beside the weights."""

    def load(self, weights: dict[str, Any], training: dict[str, Any]) -> None:
        """Go on from what `weights` and `training` gave."""
