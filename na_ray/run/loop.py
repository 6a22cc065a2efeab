"""The renderer's training loop, as one worker runs it: the same in the driver's process and on a GPU among many."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from na_ray import checkpoint, optim
from na_ray.allocator import keep_freed_memory
from na_ray.body.body import Body
from na_ray.checkpoint import Actor
from na_ray.config import Experiment
from na_ray.models.renderer import Renderer
from na_ray.models.texture import load_imagenet
from na_ray.run.feed import Feed
from na_ray.run.folder import RunFolder
from na_ray.run.step import noise_source, to_batch, train_step
from na_ray.run.stream import Plan, Row
from na_ray.run.validation import validate


@dataclass(frozen=True)
class Worker:
    """Which worker this is, where it computes, and whom it tells."""

    rank: int
    world: int
    device: torch.device
    report: Callable[[dict[str, float]], None]
    """Called by every worker at the same steps (Ray Train's report is a barrier)."""

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Average over the workers."""
        if self.world == 1:
            return values
        packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device).float()
        torch.distributed.all_reduce(packed)
        return dict(zip(values, (packed / self.world).tolist(), strict=True))


def build(experiment: Experiment, plan: Plan, device: torch.device) -> tuple[Renderer, Body]:
    """A fresh renderer for the capture's body; the same weights on every worker."""
    torch.manual_seed(experiment.train.seed)
    body = Body.from_rig(plan.rig).to(device=device)
    renderer = Renderer(experiment.renderer, body).to(device)
    if experiment.renderer.encoder_weights:  # else random: the preflight says so
        load_imagenet(renderer.encoder, experiment.renderer.encoder_weights)
    return renderer, body


class Meter:
    """Sums between two reports. Losses stay on the device until they are reported: adding them waits for nothing."""

    def __init__(self) -> None:
        self.since = time.perf_counter()
        self.steps, self.rays, self.waited = 0, 0, 0.0
        self.loss: Tensor | float = 0.0
        self.squared: Tensor | float = 0.0

    def wait(self, rows: Iterator[list[Row]]) -> list[Row]:
        """The next rows, and the time they take to come."""
        start = time.perf_counter()
        drawn = next(rows)
        self.waited += time.perf_counter() - start
        return drawn

    def add(self, loss: Tensor, squared: Tensor, rays: int) -> None:
        """Count a step."""
        self.loss, self.squared = self.loss + loss, self.squared + squared
        self.steps, self.rays = self.steps + 1, self.rays + rays

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What happens in here is no training time."""
        start = time.perf_counter()
        yield
        self.since += time.perf_counter() - start

    def metrics(self, lr: float, world: int) -> dict[str, float]:
        """What is reported: means over the steps, rates over the time. The PSNR is that of the drawn pixels."""
        loss, squared = float(self.loss), float(self.squared)  # waits for the device: before the clock is read
        elapsed = time.perf_counter() - self.since
        return {
            "loss": loss / self.steps,
            "psnr": -10 * math.log10(max(squared / self.steps, 1e-12)),
            "lr": lr,
            "rays_per_second": world * self.rays / elapsed,
            "steps_per_second": self.steps / elapsed,
            "data_wait_percent": 100 * self.waited / elapsed,
        }


@dataclass(frozen=True)
class Session:
    """What a worker trains with."""

    actor: Actor
    optimizer: torch.optim.Optimizer
    plan: Plan
    run: RunFolder
    worker: Worker


def train_renderer(
    experiment: Experiment, plan: Plan, run: RunFolder, worker: Worker, open_feed: Callable[[int], Feed]
) -> None:
    """Train from the run's latest checkpoint, or from nothing, to the last step.

    `open_feed(step)` gives the worker's rows from a step on.
    """
    keep_freed_memory()
    renderer, body = build(experiment, plan, worker.device)
    optimizer = optim.adam(renderer.parameters(), experiment.optim, parity=experiment.renderer.parity)
    step = restore(renderer, optimizer, run)
    if experiment.train.compile:
        renderer.compile_field()
    # Not the buffers: the body's are the same everywhere, and the running statistics are averaged when they are used.
    model = DistributedDataParallel(renderer, broadcast_buffers=False) if worker.world > 1 else renderer
    session = Session(Actor(renderer, body, experiment), optimizer, plan, run, worker)
    lanes = range(worker.rank, experiment.train.frames_per_step or worker.world, worker.world)
    feed = open_feed(step)
    rows = iter(feed)
    meter = Meter()
    renderer.train()
    while step < experiment.train.steps:
        drawn = meter.wait(rows)
        batches = [to_batch(row, body, experiment) for row in drawn]
        lr = optim.learning_rate(experiment.optim, step, parity=experiment.renderer.parity)
        optim.set_learning_rate(optimizer, lr)
        noises = [noise_source(experiment, step, lane, worker.device) for lane in lanes]
        optimizer.zero_grad(set_to_none=True)
        loss, squared = train_step(model, batches, experiment, noises)
        if experiment.optim.clip_norm:
            torch.nn.utils.clip_grad_norm_(renderer.parameters(), experiment.optim.clip_norm)
        optimizer.step()
        step += 1
        meter.add(loss, squared, sum(len(b.colors) for b in batches))
        if step % experiment.train.log_every == 0 or step == experiment.train.steps:
            report(session, step, meter.metrics(lr, worker.world) | {"skipped_shards": float(feed.skipped)})
            meter = Meter()
        with meter.paused():
            look_and_save(session, step)


def restore(renderer: Renderer, optimizer: torch.optim.Optimizer, run: RunFolder) -> int:
    """Load the latest checkpoint, if there is one. Returns the number of steps done."""
    latest = run.checkpoints.latest()
    if latest is None:
        return 0
    state = checkpoint.load_training(latest)
    renderer.load_state_dict(checkpoint.load_weights(latest))
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def report(session: Session, step: int, metrics: dict[str, float]) -> None:
    """Tell of the steps since the last report. Every worker comes here at the same steps."""
    worker = session.worker
    metrics = worker.mean(metrics)
    if not np.isfinite(metrics["loss"]):
        raise ValueError(f"the loss is {metrics['loss']} before step {step}: lower optim.lr, or train in float32")
    if worker.rank == 0:
        session.run.append(step, metrics)
    worker.report({"step": step} | metrics)


def share_statistics(renderer: Renderer, world: int) -> None:
    """Average the running statistics of batch normalization over the workers: each has seen frames of its own."""
    if world == 1:
        return
    for name, buffer in renderer.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            torch.distributed.all_reduce(buffer)
            buffer /= world


def look_and_save(session: Session, step: int) -> None:
    """Validate and write a checkpoint when it is time. Every worker comes here at the same steps."""
    worker, train = session.worker, session.actor.config.train
    validating = step == train.steps or (train.validate_every > 0 and step % train.validate_every == 0)
    if not (validating or step % train.checkpoint_every == 0):
        return
    share_statistics(session.actor.renderer, worker.world)
    scores: dict[str, float] = {}
    if validating:
        scores = validate(session.actor, session.plan.split, step, session.run, worker.rank, worker.world)
        worker.report({"step": step} | scores)
    if worker.rank == 0:
        folder, actor = session.run.checkpoints.folder(step), session.actor
        if not folder.exists():
            optimizer = session.optimizer.state_dict()
            checkpoint.save(folder, actor.renderer, session.plan.rig, actor.config, step, optimizer, scores)
            session.run.checkpoints.prune()
