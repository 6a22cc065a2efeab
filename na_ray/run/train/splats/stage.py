"""The splats' stage: the model and its optimizer as the training loop drives them, and the preflight's estimate."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from na_ray.body.body import Body, PosedBody
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment
from na_ray.models.splats.cost import step_multiply_adds
from na_ray.models.splats.optimizer import SplatsOptimizer, rate
from na_ray.models.splats.pose_optimizer import PoseOptimizer
from na_ray.models.splats.splats import Splats
from na_ray.run.data.frames import Row
from na_ray.run.data.pictures import PictureDataset, PictureSampler, num_pictures, picture_cameras, small_texture
from na_ray.run.train.avatar.validation import validate
from na_ray.run.train.context import Schedule, TrainContext
from na_ray.run.train.splats.pose_table import pose_table
from na_ray.run.train.splats.replay import ReplayedStep
from na_ray.run.train.splats.step import chance, to_batch

MOST_MAPS = 256
"""Training maps that the mean and the light are taken of, evenly spaced."""


def schedule(experiment: Experiment) -> Schedule:
    """The stage's schedule."""
    train = experiment.train
    return Schedule(experiment.splats.steps or train.steps, train.checkpoint_every, train.validate_every)


def build(experiment: Experiment, dataset: PictureDataset, device: torch.device) -> Splats:
    """Fresh splats for the capture's body; the same on every worker."""
    torch.manual_seed(experiment.train.seed)
    splats = Splats(experiment.splats, Body.from_rig(dataset.rig), experiment.data)
    if splats.poses is not None:
        splats.poses = pose_table(dataset.split, dataset.frames)
    return splats.to(device)


def start(splats: Splats, dataset: PictureDataset) -> None:
    """Begin with the mean and the light of the training frames' texture maps, of `MOST_MAPS` of them at most."""
    frames = dataset.frames
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(MOST_MAPS, len(frames))).round().astype(int))

    def maps() -> Iterator[tuple[PosedBody, Tensor]]:
        for frame in (frames[i] for i in chosen):
            texture = torch.from_numpy(small_texture(dataset, dataset.split.texture(frame))).to(splats.device)
            yield splats.body.pose(dataset.split.pose(frame)), texture.permute(2, 0, 1).float() / 255

    splats.start_from(maps)


class SplatsTrainer:
    """Trains `Splats` (see `context.Trainer`)."""

    unit = "pictures"
    remedy = "lower splats.lr_texels and splats.lr_decoder"

    def __init__(self, context: TrainContext, dataset: PictureDataset) -> None:
        self.experiment, self.dataset, self.run, self.worker = context.experiment, dataset, context.run, context.worker
        self.schedule = schedule(self.experiment)
        self.splats = build(self.experiment, dataset, self.worker.device)
        if context.run.checkpoints.latest() is None:
            start(self.splats, dataset)
        self.optimizer = SplatsOptimizer(self.splats, self.schedule.steps)
        self.poses = self._pose_optimizer()
        several, total = self.worker.world > 1, num_pictures(self.experiment)
        self.model = DistributedDataParallel(self.splats, broadcast_buffers=False) if several else self.splats
        self.weight = self.worker.world / total
        mine = tuple(range(self.worker.rank, total, self.worker.world))
        self.slots = PictureSampler(dataset, mine, total, 0).slots
        self.splats.train()
        self.replayed = None
        if self.worker.device.type == "cuda" and self.experiment.splats.cuda_graphs and not several and not self.poses:
            cameras = picture_cameras(dataset)
            self.replayed = ReplayedStep(self.splats, self.optimizer, cameras, self.weight, len(self.slots))

    def _pose_optimizer(self) -> PoseOptimizer | None:
        table, config = self.splats.poses, self.experiment.splats
        slots = config.global_batch // config.views_per_frame
        return None if table is None else PoseOptimizer(table, config, self.schedule.steps, slots)

    def step(self, rows: list[Row], step: int) -> tuple[dict[str, Tensor], int]:
        """One update, from a row of pictures for each of the worker's frames."""
        pictures = sum(len(row["views"]) for row in rows)
        if self.replayed is not None:
            rngs = [chance(self.experiment.train.seed, step, slot) for slot in self.slots]
            return self.replayed.step(rows, rngs, step), pictures
        total, squared = (torch.zeros((), device=self.worker.device) for _ in range(2))
        for i, (row, slot) in enumerate(zip(rows, self.slots, strict=True)):
            rng = chance(self.experiment.train.seed, step, slot)
            place = int(row["frame"]) - self.dataset.frames[0]
            taken = self.poses.take(place) if self.poses else None
            batch = to_batch(row, self.splats, picture_cameras(self.dataset), rng, taken)
            held = isinstance(self.model, DistributedDataParallel) and i < len(rows) - 1
            with self.model.no_sync() if held else contextlib.nullcontext():  # type: ignore[operator]
                loss, error = self.model(batch)
                (loss * self.weight).backward()
            if self.poses and taken is not None:
                self.poses.give(slot, place, taken, 1 / self.worker.world)
            total += loss.detach() * self.weight
            squared += error * self.weight
        self.optimizer.step(step)
        if self.poses:
            self.poses.step(step, torch.distributed.all_reduce if self.worker.world > 1 else None)
        return {"loss": total, "squared": squared}, pictures

    def describe(self, means: dict[str, float], step: int) -> dict[str, float]:
        """The PSNR is that of the trained parts of the pictures."""
        lr = self.experiment.splats.lr_texels * rate(self.experiment.splats, step - 1, self.schedule.steps)
        found = {"loss": means["loss"], "psnr": -10 * math.log10(max(means["squared"], 1e-12)), "lr": lr}
        return found | (self.poses.table.sizes() if self.poses else {})

    def sync_buffers(self) -> None:
        """Nothing differs between the workers."""

    def validate(self, step: int) -> dict[str, float]:
        """Render the validation views with the averaged weights; the workers share the work."""
        averaged = build(self.experiment, self.dataset, self.worker.device)
        averaged.load_state_dict(self.weights())
        actor = TrainedAvatar(averaged, averaged.body, self.experiment)
        chosen, worker = self.dataset.selection, self.worker
        return validate(actor, self.dataset.split, chosen, step, self.run, worker.rank, worker.world)

    def weights(self) -> dict[str, Any]:
        """The state dict of the averaged splats: what is drawn."""
        names = {id(p): name for name, p in self.splats.named_parameters()}
        ordered = [names[id(p)] for p in self.optimizer.parameters]
        return self.optimizer.averaged(self.splats.state_dict(), ordered)

    def training(self) -> dict[str, Any]:
        """The weights themselves, Adam's moments and the running norms: random numbers are functions of the step."""
        return self.optimizer.state() | ({"poses": self.poses.state()} if self.poses else {})

    def load(self, weights: dict[str, Any], training: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.splats.load_state_dict(weights)
        self.optimizer.load({name: value for name, value in training.items() if name not in ("step", "poses")})
        if self.poses:
            self.poses.load(training["poses"])


def estimate(dataset: PictureDataset) -> tuple[list[str], float, int]:
    """For the preflight: lines on the model, multiply-adds of the whole training, bytes of a checkpoint.

    Raises UserError when the bound on memory is too small, or for an atlas that carries no Gaussians.
    """
    experiment = dataset.experiment
    config, workers = experiment.splats, max(1, experiment.train.min_workers or experiment.train.num_workers)
    frames = config.global_batch // config.views_per_frame
    dataset.room(-(-frames // workers))
    splats = build(experiment, dataset, torch.device("cpu"))
    parameters = sum(p.numel() for p in splats.parameters())
    steps = schedule(experiment).steps
    operations = 3.0 * frames * step_multiply_adds(splats)
    lines = [
        f"splats    {len(splats.texels)} Gaussians of an atlas of {config.side}x{config.side}, "
        f"{parameters / 1e6:.1f} M parameters, {operations / 1e9:.1f} G multiply-adds of the decoder a step, "
        f"{steps} steps on {len(dataset.frames)} frames x {len(dataset.views)} views",
    ]
    drawn = experiment.vid2vid.resolution[0]
    if "texture" in experiment.stages and drawn < config.side:
        lines.append(f"maps      predicted ones have {drawn}x{drawn} texels, fewer than the atlas: they are enlarged")
    lines += [dataset.selection.warning] if dataset.selection.warning else []
    return lines, steps * operations, 4 * 4 * parameters  # average, weights and Adam's two moments
