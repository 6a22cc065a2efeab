"""The renderer's stage: its model and optimizer, driven by the loop; its order of frames; what the driver must know."""

import math
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from na_ray import optim
from na_ray.body.body import Body
from na_ray.checkpoint import Actor
from na_ray.config import Experiment
from na_ray.models.cost import step_multiply_adds
from na_ray.models.renderer import Renderer
from na_ray.models.texture import load_imagenet
from na_ray.run.loop import Pace, Setting
from na_ray.run.step import noise_source, to_batch, train_step
from na_ray.run.stream import Plan, Row
from na_ray.run.validation import validate


def build(experiment: Experiment, plan: Plan, device: torch.device) -> tuple[Renderer, Body]:
    """A fresh renderer for the capture's body; the same weights on every worker."""
    torch.manual_seed(experiment.train.seed)
    body = Body.from_rig(plan.rig).to(device=device)
    renderer = Renderer(experiment.renderer, body).to(device)
    if experiment.renderer.encoder_weights:  # else random: the preflight says so
        load_imagenet(renderer.encoder, experiment.renderer.encoder_weights)
    return renderer, body


def pace(experiment: Experiment) -> Pace:
    """The renderer's pace."""
    train = experiment.train
    return Pace(train.steps, train.checkpoint_every, train.validate_every)


class RendererTrainer:
    """Trains a `Renderer` (see `loop.Trainer`)."""

    unit = "rays"
    remedy = "lower optim.lr, or train in float32"

    def __init__(self, setting: Setting, plan: Plan) -> None:
        self.experiment, self.plan, self.run, self.worker = setting.experiment, plan, setting.run, setting.worker
        self.pace = pace(self.experiment)
        self.renderer, self.body = build(self.experiment, plan, self.worker.device)
        parity = self.experiment.renderer.parity
        self.optimizer = optim.adam(self.renderer.parameters(), self.experiment.optim, parity=parity)
        if self.experiment.train.compile:
            self.renderer.compile_field()
        # Not the buffers: the body's are the same everywhere, and running statistics are averaged when they are used.
        several = self.worker.world > 1
        self.model = DistributedDataParallel(self.renderer, broadcast_buffers=False) if several else self.renderer
        lanes = self.experiment.train.frames_per_step or self.worker.world
        self.weight = self.worker.world / lanes
        self.lanes = range(self.worker.rank, lanes, self.worker.world)
        self.renderer.train()

    def step(self, rows: list[Row], step: int) -> tuple[dict[str, Tensor], int]:
        """One update from a row a lane."""
        experiment = self.experiment
        batches = [to_batch(row, self.body, experiment) for row in rows]
        optim.set_learning_rate(self.optimizer, self._learning_rate(step))
        noises = [noise_source(experiment, step, lane, self.worker.device) for lane in self.lanes]
        self.optimizer.zero_grad(set_to_none=True)
        loss, squared = train_step(self.model, batches, experiment, noises, self.weight)
        if experiment.optim.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.renderer.parameters(), experiment.optim.clip_norm)
        self.optimizer.step()
        return {"loss": loss, "squared": squared}, sum(len(b.colors) for b in batches)

    def _learning_rate(self, step: int) -> float:
        return optim.learning_rate(self.experiment.optim, step, parity=self.experiment.renderer.parity)

    def describe(self, means: dict[str, float], step: int) -> dict[str, float]:
        """The PSNR is that of the drawn pixels."""
        psnr = -10 * math.log10(max(means["squared"], 1e-12))
        return {"loss": means["loss"], "psnr": psnr, "lr": self._learning_rate(step - 1)}

    def settle(self) -> None:
        """Average the running statistics of batch normalization over the workers: each has seen its own frames."""
        if self.worker.world == 1:
            return
        for name, buffer in self.renderer.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                torch.distributed.all_reduce(buffer)
                buffer /= self.worker.world

    def validate(self, step: int) -> dict[str, float]:
        """Render the validation views; the workers share the work."""
        actor = Actor(self.renderer, self.body, self.experiment)
        return validate(actor, self.plan.split, step, self.run, self.worker.rank, self.worker.world)

    def weights(self) -> dict[str, Any]:
        """The renderer's."""
        return self.renderer.state_dict()

    def training(self) -> dict[str, Any]:
        """Random numbers are functions of the step: Adam's moments are all."""
        return {"optimizer": self.optimizer.state_dict()}

    def load(self, weights: dict[str, Any], training: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.renderer.load_state_dict(weights)
        self.optimizer.load_state_dict(training["optimizer"])


def outlook(plan: Plan) -> tuple[list[str], float, int]:
    """For the preflight: lines on the model, multiply-adds of the whole training, bytes of a checkpoint.

    Raises UserError when the bound on memory is too small.
    """
    experiment = plan.experiment
    train, data = experiment.train, experiment.data
    frames = train.frames_per_step or max(1, train.num_workers)
    plan.room(-(-frames // max(1, train.min_workers or train.num_workers)))
    side = data.texture_size or plan.split.texture(0).shape[0]
    parameters = sum(p.numel() for p in Renderer(experiment.renderer, Body.from_rig(plan.rig)).parameters())
    operations = 3.0 * frames * step_multiply_adds(experiment.renderer, data, side)  # backward costs two forwards
    encoder = experiment.renderer.encoder_weights or "random weights: renderer.encoder-weights names a file"
    lines = [
        f"renderer  {parameters / 1e6:.1f} M parameters, {operations / 1e9:.1f} G multiply-adds a step at most, "
        f"{train.steps} steps on {len(plan.frames)} frames x {len(plan.views)} views",
        f"encoder   {encoder}",
    ]
    return lines, train.steps * operations, 3 * 4 * parameters  # the weights and Adam's two moments
