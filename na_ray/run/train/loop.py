"""The training loop as one worker runs it: the same for every stage, in the driver's process or on a GPU among many."""

import contextlib
import time
from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from na_ray.config.values import UserError
from na_ray.run.cluster.notice import PreemptionWatch
from na_ray.run.data.frames import Row
from na_ray.run.data.loader import StepLoader
from na_ray.run.train.allocator import keep_freed_memory
from na_ray.run.train.checkpointing import look_and_save, restore
from na_ray.run.train.context import TrainContext, Trainer


class Meter:
    """Sums between two reports. Losses stay on the device until they are reported: adding them waits for nothing."""

    def __init__(self) -> None:
        self.since = self.begun = time.perf_counter()
        self.steps, self.work, self.waited = 0, 0, 0.0
        self.first_steps, self.first_work = 0, 0
        """What `warm` leaves out of the speed."""
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

    def warm(self) -> None:
        """The steps so far compiled kernels and opened videos: they say nothing of the speed of those that follow."""
        self.since, self.waited = time.perf_counter(), 0.0
        self.first_steps, self.first_work = self.steps, self.work

    def means(self) -> dict[str, float]:
        """Mean of each loss; waits for the device."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def rates(self, unit: str, world: int) -> dict[str, float]:
        """Speed since the last report."""
        steps, work, since = self.steps - self.first_steps, self.work - self.first_work, self.since
        if not steps:
            steps, work, since = self.steps, self.work, self.begun
        elapsed = time.perf_counter() - since
        return {
            f"{unit}_per_second": world * work / elapsed,
            "steps_per_second": steps / elapsed,
            "data_wait_percent": 100 * self.waited / elapsed,
        }


def train_stage(trainer: Trainer, context: TrainContext, open_loader: Callable[[int], StepLoader]) -> None:
    """Train from the run's latest checkpoint, or from nothing, to the last step.

    `open_loader(step)` gives the worker's rows from a step on.
    """
    keep_freed_memory()
    step = restore(trainer, context)
    if step and context.worker.rank == 0:
        world = context.worker.world
        context.run.note(step, f"going on from step {step}, with {world} worker{'s' if world > 1 else ''}")
    loader, notice = open_loader(step), PreemptionWatch(context.worker.time_left)
    rows = iter(loader)
    meter, first = Meter(), True
    while step < trainer.schedule.steps:
        losses, work = trainer.step(meter.wait(rows), step)
        step += 1
        meter.add(losses, work)
        if first:
            meter.warm()
            first = False
        if step % context.experiment.train.log_every == 0 or step == trainer.schedule.steps:
            worker = context.worker
            metrics = trainer.describe(worker.mean(meter.means()), step) | meter.rates(trainer.unit, worker.world)
            skipped = float(worker.world * loader.skipped)  # of all workers, when it is averaged over them
            means = report(context, step, metrics | {"skipped_shards": skipped}, trainer.remedy)
            notice.set_speed(means["steps_per_second"])
            meter = Meter()
        with meter.paused():
            look_and_save(trainer, context, step, notice)


def report(context: TrainContext, step: int, metrics: dict[str, float], remedy: str) -> dict[str, float]:
    """Record the steps since the last report. Returns means over the workers: all call this at the same steps."""
    worker = context.worker
    metrics = worker.mean(metrics)
    if not np.isfinite(metrics["loss"]):
        raise UserError(f"the loss is {metrics['loss']} before step {step}: {remedy}")
    if worker.rank == 0:
        context.run.append(step, metrics)
    return metrics
