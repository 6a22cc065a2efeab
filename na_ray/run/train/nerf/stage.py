"""The NeRF's stage: its model and optimizer as the training loop drives them, and its estimate for the preflight."""

import math
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from na_ray.body.body import Body
from na_ray.capture.pixels import map_size
from na_ray.checkpoint import TrainedAvatar
from na_ray.config import Experiment
from na_ray.models import optim
from na_ray.models.nerf.cost import step_multiply_adds
from na_ray.models.nerf.renderer import Nerf
from na_ray.models.nerf.texture_encoder import load_imagenet
from na_ray.run.data.frames import FrameDataset, Row
from na_ray.run.train.avatar.validation import validate
from na_ray.run.train.context import Schedule, TrainContext
from na_ray.run.train.nerf.step import noise_source, to_batch, train_step


def build(experiment: Experiment, dataset: FrameDataset, device: torch.device) -> tuple[Nerf, Body]:
    """A fresh nerf for the capture's body; the same weights on every worker."""
    torch.manual_seed(experiment.train.seed)
    body = Body.from_rig(dataset.rig).to(device=device)
    nerf = Nerf(experiment.nerf, body, experiment.data).to(device)
    if experiment.nerf.encoder_weights:  # else random: the preflight says so
        load_imagenet(nerf.encoder, experiment.nerf.encoder_weights)
    return nerf, body


def schedule(experiment: Experiment) -> Schedule:
    """The NeRF's schedule."""
    train = experiment.train
    return Schedule(train.steps, train.checkpoint_every, train.validate_every)


class NerfTrainer:
    """Trains a `Nerf` (see `loop.Trainer`)."""

    unit = "rays"
    remedy = "lower optim.lr, or train in float32"

    def __init__(self, context: TrainContext, dataset: FrameDataset) -> None:
        self.experiment, self.dataset, self.run, self.worker = context.experiment, dataset, context.run, context.worker
        self.schedule = schedule(self.experiment)
        self.nerf, self.body = build(self.experiment, dataset, self.worker.device)
        parity = self.experiment.nerf.parity
        self.optimizer = optim.adam(self.nerf.parameters(), self.experiment.optim, parity=parity)
        if self.experiment.train.compile:
            self.nerf.compile_field()
        # Not the buffers: the body's are the same everywhere, and running statistics are averaged when they are used.
        several = self.worker.world > 1
        self.model = DistributedDataParallel(self.nerf, broadcast_buffers=False) if several else self.nerf
        slots = self.experiment.train.global_batch
        self.weight = self.worker.world / slots
        self.slots = range(self.worker.rank, slots, self.worker.world)
        self.nerf.train()

    def step(self, rows: list[Row], step: int) -> tuple[dict[str, Tensor], int]:
        """One update, from a row for each of the worker's batch slots."""
        experiment = self.experiment
        batches = [to_batch(row, self.body, experiment) for row in rows]
        optim.set_learning_rate(self.optimizer, self._learning_rate(step))
        noises = [noise_source(experiment, step, slot, self.worker.device) for slot in self.slots]
        self.optimizer.zero_grad(set_to_none=True)
        loss, squared = train_step(self.model, batches, experiment, noises, self.weight)
        if experiment.optim.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.nerf.parameters(), experiment.optim.clip_norm)
        self.optimizer.step()
        return {"loss": loss, "squared": squared}, sum(len(b.colors) for b in batches)

    def _learning_rate(self, step: int) -> float:
        return optim.learning_rate(self.experiment.optim, step, parity=self.experiment.nerf.parity)

    def describe(self, means: dict[str, float], step: int) -> dict[str, float]:
        """The PSNR is that of the drawn pixels."""
        psnr = -10 * math.log10(max(means["squared"], 1e-12))
        return {"loss": means["loss"], "psnr": psnr, "lr": self._learning_rate(step - 1)}

    def sync_buffers(self) -> None:
        """Average the running statistics of batch normalization over the workers: each has seen its own frames."""
        if self.worker.world == 1:
            return
        for name, buffer in self.nerf.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                torch.distributed.all_reduce(buffer)
                buffer /= self.worker.world

    def validate(self, step: int) -> dict[str, float]:
        """Render the validation views; the workers share the work."""
        actor = TrainedAvatar(self.nerf, self.body, self.experiment)
        split, chosen = self.dataset.split, self.dataset.selection
        return validate(actor, split, chosen, step, self.run, self.worker.rank, self.worker.world)

    def weights(self) -> dict[str, Any]:
        """The NeRF's state dict."""
        return self.nerf.state_dict()

    def training(self) -> dict[str, Any]:
        """Random numbers are functions of the step: Adam's moments are all."""
        return {"optimizer": self.optimizer.state_dict()}

    def load(self, weights: dict[str, Any], training: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.nerf.load_state_dict(weights)
        self.optimizer.load_state_dict(training["optimizer"])


def estimate(dataset: FrameDataset) -> tuple[list[str], float, int]:
    """For the preflight: lines on the model, multiply-adds of the whole training, bytes of a checkpoint.

    Raises UserError when the bound on memory is too small.
    """
    experiment = dataset.experiment
    train, data = experiment.train, experiment.data
    frames = train.global_batch
    dataset.room(-(-frames // max(1, train.min_workers or train.num_workers)))
    stored = dataset.split.texture(0)
    height, width = map_size(stored.shape[0], stored.shape[1], data.texture_size)
    side = round(math.sqrt(height * width))
    parameters = sum(p.numel() for p in Nerf(experiment.nerf, Body.from_rig(dataset.rig)).parameters())
    operations = 3.0 * frames * step_multiply_adds(experiment.nerf, data, side)  # backward costs two forwards
    encoder = experiment.nerf.encoder_weights or "random weights: nerf.encoder-weights names a file"
    lines = [
        f"nerf  {parameters / 1e6:.1f} M parameters, {operations / 1e9:.1f} G multiply-adds a step at most, "
        f"{train.steps} steps on {len(dataset.frames)} frames x {len(dataset.views)} views",
        f"encoder   {encoder}",
    ]
    warning = dataset.selection.warning
    lines += [warning] if warning else []
    return lines, train.steps * operations, 3 * 4 * parameters  # the weights and Adam's two moments
