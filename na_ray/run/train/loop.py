"""The training loop as one worker runs it: the same for every stage, in the driver's process or on a GPU among many."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.distributed
from torch import Tensor

from na_ray import checkpoint
from na_ray.capture.rig import Rig
from na_ray.config import Experiment
from na_ray.config.values import UserError
from na_ray.run.cluster.notice import PreemptionWatch
from na_ray.run.data.frames import Row
from na_ray.run.data.loader import StepLoader
from na_ray.run.train import disk as space
from na_ray.run.train.allocator import keep_freed_memory
from na_ray.run.train.run_folder import RunFolder


@dataclass(frozen=True)
class Worker:
    """Which worker this is, where it computes, and whom it tells."""

    rank: int
    world: int
    device: torch.device
    report: Callable[[dict[str, float]], None]
    """Told of validations, by every worker at the same steps: Ray Train's report holds them all until its controller
    looks at them next (`RAY_TRAIN_HEALTH_CHECK_INTERVAL_S`). The run's record is for what happens more often."""
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

    pace: Schedule
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


class Meter:
    """Sums between two reports. Losses stay on the device until they are reported: adding them waits for nothing."""

    def __init__(self) -> None:
        self.since = time.perf_counter()
        self.steps, self.work, self.waited = 0, 0, 0.0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def wait(self, rows: Iterator[list[Row]]) -> list[Row]:
        """The next rows, and the time they take to come."""
        start = time.perf_counter()
        drawn = next(rows)
        self.waited += time.perf_counter() - start
        return drawn

    def add(self, losses: dict[str, Tensor], work: int) -> None:
        """Count a step. A loss that is not there at every step is averaged over those at which it is."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1
        self.steps, self.work = self.steps + 1, self.work + work

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in here is no training time."""
        start = time.perf_counter()
        yield
        self.since += time.perf_counter() - start

    def means(self) -> dict[str, float]:
        """Mean of each loss; waits for the device."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def rates(self, unit: str, world: int) -> dict[str, float]:
        """Speed since the last report."""
        elapsed = time.perf_counter() - self.since
        return {
            f"{unit}_per_second": world * self.work / elapsed,
            "steps_per_second": self.steps / elapsed,
            "data_wait_percent": 100 * self.waited / elapsed,
        }


def train_stage(trainer: Trainer, context: TrainContext, open_loader: Callable[[int], StepLoader]) -> None:
    """Train from the run's latest checkpoint, or from nothing, to the last step.

    `open_loader(step)` gives the worker's rows from a step on.
    """
    keep_freed_memory()
    step = restore(trainer, context.run)
    if step and context.worker.rank == 0:
        world = context.worker.world
        context.run.note(step, f"going on from step {step}, with {world} worker{'s' if world > 1 else ''}")
    loader, notice = open_loader(step), PreemptionWatch(context.worker.time_left)
    rows = iter(loader)
    meter = Meter()
    while step < trainer.pace.steps:
        losses, work = trainer.step(meter.wait(rows), step)
        step += 1
        meter.add(losses, work)
        if step % context.experiment.train.log_every == 0 or step == trainer.pace.steps:
            worker = context.worker
            metrics = trainer.describe(worker.mean(meter.means()), step) | meter.rates(trainer.unit, worker.world)
            skipped = float(worker.world * loader.skipped)  # of all workers, when it is averaged over them
            told = report(context, step, metrics | {"skipped_shards": skipped}, trainer.remedy)
            notice.pace(told["steps_per_second"])
            meter = Meter()
        with meter.paused():
            look_and_save(trainer, context, step, notice)


def restore(trainer: Trainer, run: RunFolder) -> int:
    """Load the latest checkpoint, if there is one. Returns the number of steps done."""
    latest = run.checkpoints.latest()
    if latest is None:
        return 0
    training = checkpoint.load_training(latest)
    trainer.load(checkpoint.load_weights(latest, run.stage), training)
    return int(training["step"])


def report(context: TrainContext, step: int, metrics: dict[str, float], remedy: str) -> dict[str, float]:
    """Tell of the steps since the last report. Returns the mean over the workers: all come here at the same steps."""
    worker = context.worker
    metrics = worker.mean(metrics)
    if not np.isfinite(metrics["loss"]):
        raise UserError(f"the loss is {metrics['loss']} before step {step}: {remedy}")
    if worker.rank == 0:
        context.run.append(step, metrics)
    return metrics


def look_and_save(trainer: Trainer, context: TrainContext, step: int, notice: PreemptionWatch) -> None:
    """Validate and write a checkpoint when it is time. Every worker comes here at the same steps."""
    pace, run, worker = trainer.pace, context.run, context.worker
    validating = step == pace.steps or (pace.validate_every > 0 and step % pace.validate_every == 0)
    warned = notice.due(step)
    if not (validating or warned or step % pace.checkpoint_every == 0):
        return
    if worker.rank == 0:
        if warned:
            run.note(step, f"a machine will be taken in {notice.left:.0f} s: saving a checkpoint")
        space.patiently(lambda: None, run.folder, space.checkpoint_bytes(run.checkpoints.root))
    trainer.sync_buffers()
    scores: dict[str, float] = {}
    if validating:
        scores = trainer.validate(step)
    folder = run.checkpoints.folder(step)
    if worker.rank == 0 and not folder.exists():
        weights, training = trainer.weights(), trainer.training()
        rig, experiment = context.rig, context.experiment
        space.patiently(
            lambda: checkpoint.save(folder, run.stage, weights, rig, experiment, step, training, scores), run.folder
        )
        run.checkpoints.prune()
    if validating:  # told when it is saved: who hears of a score may stop the training, and find its checkpoint
        worker.report({"step": step} | scores)
