"""The renderer's training loop, as one worker runs it: the same for a thread of the driver and for a GPU among many."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from na_ray import checkpoint, losses, optim
from na_ray.body.body import Body, PosedBody
from na_ray.body.intervals import shell_intervals
from na_ray.capture.rig import Pose
from na_ray.checkpoint import Actor
from na_ray.config import Experiment
from na_ray.models.renderer import Renderer
from na_ray.models.texture import load_imagenet
from na_ray.run.folder import RunFolder
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


@dataclass(frozen=True)
class Batch:
    """The rays of one frame, chosen and on the device: r rays of each of its views, v * r in all."""

    posed: PosedBody
    texture: Tensor
    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    colors: Tensor


def to_batch(row: Row, body: Body, experiment: Experiment) -> Batch:
    """Move a row to the body's device and keep, of each view, the first `rays_per_view` rays that meet the shell.

    Views with fewer are filled up with rays that miss: they render the background and carry no gradient.
    """
    device, cfg = body.vertices.device, experiment.renderer
    pose = Pose(**{name: row[name] for name in ("joints_RT", "rotation", "translation", "joints")}, pose=None)
    posed = body.pose(pose)
    tensors = {k: torch.as_tensor(np.array(row[k]), device=device) for k in ("origins", "directions", "colors")}
    flat = {k: v.reshape(-1, v.shape[-1]) if v.ndim == 3 else v.reshape(-1) for k, v in tensors.items()}
    near, far, hit = shell_intervals(
        posed.world_vertices, flat["origins"], flat["directions"], cfg.shell_radius, parity=cfg.parity
    )
    views, drawn = row["origins"].shape[:2]
    # A stable sort by "missed" keeps the drawn order within the hits: still a uniform draw.
    chosen = (~hit).reshape(views, drawn).to(torch.uint8).argsort(dim=1, stable=True)
    chosen = chosen[:, : experiment.data.rays_per_view] + drawn * torch.arange(views, device=device)[:, None]
    pick = chosen.reshape(-1)
    texture = torch.as_tensor(np.array(row["texture"]), device=device).permute(2, 0, 1).float() / 255
    rays = {k: v[pick] for k, v in flat.items()}
    return Batch(posed, texture, near=near[pick], far=far[pick], **rays)


def noise_source(experiment: Experiment, step: int, lane: int, device: torch.device) -> torch.Generator:
    """The random numbers of one row of one step: a function of (seed, step, lane), whoever computes it."""
    words = np.random.SeedSequence([experiment.train.seed, step, lane]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def build(experiment: Experiment, plan: Plan, device: torch.device) -> tuple[Renderer, Body]:
    """A fresh renderer for the capture's body; the same weights on every worker."""
    torch.manual_seed(experiment.train.seed)
    body = Body.from_rig(plan.rig).to(device=device)
    renderer = Renderer(experiment.renderer, body).to(device)
    if experiment.renderer.encoder_weights:
        load_imagenet(renderer.encoder, experiment.renderer.encoder_weights)
    return renderer, body


@dataclass
class Meter:
    """Sums between two reports."""

    loss: Tensor | float = 0.0
    squared: Tensor | float = 0.0
    steps: int = 0
    rays: int = 0
    waited: float = 0.0
    since: float = 0.0

    def metrics(self, lr: float, worlds: int) -> dict[str, float]:
        """What is reported: means over the steps, rates over the time."""
        elapsed = time.perf_counter() - self.since
        mean_squared = float(self.squared) / self.steps
        return {
            "loss": float(self.loss) / self.steps,
            "psnr": -10 * float(np.log10(max(mean_squared, 1e-12))),
            "lr": lr,
            "rays_per_second": worlds * self.rays / elapsed,
            "steps_per_second": self.steps / elapsed,
            "data_wait_percent": 100 * self.waited / elapsed,
        }


def train_step(
    model: Renderer | DistributedDataParallel,
    batches: list[Batch],
    experiment: Experiment,
    noises: list[torch.Generator],
) -> tuple[Tensor, Tensor]:
    """Forward and backward over the worker's rows. Returns the mean loss and the mean squared error in [0, 1] colors.

    Gradients are averaged over rows here and over workers by DDP, once, in the last row's backward pass.
    """
    total, squared = torch.zeros((), device=batches[0].colors.device), torch.zeros((), device=batches[0].colors.device)
    for i, (batch, noise) in enumerate(zip(batches, noises, strict=True)):
        last = i == len(batches) - 1
        held = isinstance(model, DistributedDataParallel) and not last
        with model.no_sync() if held else contextlib.nullcontext():  # type: ignore[operator]
            with _autocast(experiment, batch.colors.device):
                rendering = model(
                    batch.posed,
                    batch.texture,
                    origins=batch.origins,
                    directions=batch.directions,
                    near=batch.near,
                    far=batch.far,
                    generator=noise,
                )
            loss = losses.total(rendering.colors, rendering.missed, batch.colors, experiment.optim) / len(batches)
            loss.backward()
        total += loss.detach()
        squared += ((rendering.colors.detach() - batch.colors) / 2).square().mean() / len(batches)
    return total, squared


def _autocast(experiment: Experiment, device: torch.device) -> Any:
    enabled = experiment.train.precision == "bfloat16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def train_renderer(
    experiment: Experiment, plan: Plan, run: RunFolder, worker: Worker, rows: Callable[[int], Iterator[list[Row]]]
) -> None:
    """Train from the run's latest checkpoint, or from nothing, to the last step.

    `rows(step)` gives the worker's rows from a step on.
    """
    renderer, body = build(experiment, plan, worker.device)
    optimizer = optim.adam(renderer.parameters(), experiment.optim, parity=experiment.renderer.parity)
    step = restore(renderer, optimizer, run)
    if experiment.train.compile:
        renderer.compile_field()
    ids = [worker.device.index or 0] if worker.device.type == "cuda" else None
    model = DistributedDataParallel(renderer, device_ids=ids) if worker.world > 1 else renderer
    actor = Actor(renderer, body, experiment)
    source = rows(step)
    lanes = range(worker.rank, experiment.train.frames_per_step or worker.world, worker.world)
    meter = Meter(since=time.perf_counter())
    renderer.train()
    while step < experiment.train.steps:
        waiting = time.perf_counter()
        batches = [to_batch(row, body, experiment) for row in next(source)]
        meter.waited += time.perf_counter() - waiting
        lr = optim.learning_rate(experiment.optim, step, parity=experiment.renderer.parity)
        optim.set_learning_rate(optimizer, lr)
        noises = [noise_source(experiment, step, lane, worker.device) for lane in lanes]
        optimizer.zero_grad(set_to_none=True)
        loss, squared = train_step(model, batches, experiment, noises)
        if experiment.optim.clip_norm:
            torch.nn.utils.clip_grad_norm_(renderer.parameters(), experiment.optim.clip_norm)
        optimizer.step()
        step += 1
        meter.loss, meter.squared = meter.loss + loss, meter.squared + squared  # tensors: no wait for the device here
        meter.steps, meter.rays = meter.steps + 1, meter.rays + sum(len(b.colors) for b in batches)
        meter = after_step(step, meter, lr, actor, optimizer, plan, run, worker)


def restore(renderer: Renderer, optimizer: torch.optim.Optimizer, run: RunFolder) -> int:
    """Load the latest checkpoint, if there is one. Returns the number of steps done."""
    latest = run.checkpoints.latest()
    if latest is None:
        return 0
    state = checkpoint.load_training(latest)
    renderer.load_state_dict(checkpoint.load_weights(latest))
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def after_step(
    step: int,
    meter: Meter,
    lr: float,
    actor: Actor,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
    run: RunFolder,
    worker: Worker,
) -> Meter:
    """Report, validate and write a checkpoint when it is time. Every worker comes here at the same steps."""
    train = actor.config.train
    last = step == train.steps
    scores: dict[str, float] = {}
    if step % train.log_every == 0 or last:
        meter.loss, meter.squared = float(meter.loss), float(meter.squared)
        if not np.isfinite(meter.loss):
            raise ValueError(
                f"the loss is {meter.loss} before step {step}: lower optim.lr, or resume from a checkpoint"
            )
        metrics = worker.mean(meter.metrics(lr, worker.world))
        if worker.rank == 0:
            run.append(step, metrics)
        worker.report({"step": step} | metrics)
        meter = Meter(since=time.perf_counter())
    paused = time.perf_counter()
    if last or (train.validate_every and step % train.validate_every == 0):
        scores = validate(actor, plan.split, step, run, worker.rank, worker.world)
        worker.report({"step": step} | scores)
    if (scores or step % train.checkpoint_every == 0) and worker.rank == 0:
        write_checkpoint(step, actor, optimizer, plan, run, scores)
    meter.since += time.perf_counter() - paused
    return meter


def write_checkpoint(
    step: int, actor: Actor, optimizer: torch.optim.Optimizer, plan: Plan, run: RunFolder, scores: dict[str, float]
) -> None:
    """Save, then drop what need not be kept. A step that is saved already (a resumed run's first) is left as it is."""
    folder = run.checkpoints.folder(step)
    if not folder.exists():
        checkpoint.save(folder, actor.renderer, plan.rig, actor.config, step, optimizer.state_dict(), scores)
        run.checkpoints.prune()
