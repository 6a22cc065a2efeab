"""The texture predictor's stage: networks and losses as the training loop drives them, and the preflight's estimate."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from na_ray.body.body import Body
from na_ray.body.upload import upload
from na_ray.capture.image import resized
from na_ray.checkpoint import Predictor
from na_ray.config import Vid2vidConfig
from na_ray.evaluation.texture_metrics import mean_map
from na_ray.models.lighting import fit_light, local_light
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Flows, Networks, iterate
from na_ray.models.vid2vid.perceptual import load_perceptual
from na_ray.run.data.frames import Row
from na_ray.run.data.sequences import SequenceDataset, num_steps, num_windows, window_length
from na_ray.run.train.context import Schedule, TrainContext
from na_ray.run.train.texture.validation import validate

MOST_LIT = 512
"""Frames that the light is fitted to, at most."""


def schedule(dataset: SequenceDataset) -> Schedule:
    """The texture stage's schedule."""
    texture = dataset.experiment.texture
    return Schedule(num_steps(dataset), texture.checkpoint_every, texture.validate_every)


def to_window(rows: list[Row], device: torch.device) -> tuple[Tensor, Tensor, Flows | None]:
    """The rows of a step as one batch: normal maps and texture maps (b, t, 3, h, w) in [-1, 1], and flows if given."""

    def stacked(name: str) -> Tensor:
        return upload(np.stack([row[name] for row in rows]), device)

    labels, images = (stacked(name).permute(0, 1, 4, 2, 3).float() / 127.5 - 1 for name in ("labels", "images"))
    if "flows" not in rows[0]:
        return labels, images, None
    return labels, images, Flows(stacked("flows"), stacked("confidences")[:, :, None])


def mean_texture(dataset: SequenceDataset) -> Float[Tensor, "3 h w"]:
    """The mean of the training frames' texture maps, RGB in [-1, 1]."""
    size = dataset.experiment.vid2vid.resolution
    mean = mean_map(resized(image, size) for image in dataset.split.textures(dataset.frames.start, dataset.frames.stop))
    return torch.from_numpy(mean).permute(2, 0, 1).float() / 127.5 - 1


def light_of(
    dataset: SequenceDataset,
) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "8 h w"], Float[Tensor, "8 3 h w"]]:
    """The mean texture (RGB in [0, 1]), the mean harmonics and each texel's light (`local_light`), at the maps' size:
    of all training frames up to `MOST_LIT`, else of so many, evenly spaced."""
    size, frames, split = dataset.experiment.vid2vid.resolution, dataset.frames, dataset.split
    kept = set(np.linspace(frames[0], frames[-1], min(len(frames), MOST_LIT)).round().astype(int).tolist())

    def read() -> Iterator[tuple[Tensor, Tensor]]:
        maps = (split.textures(frames.start, frames.stop), split.normal_maps(frames.start, frames.stop))
        for position, pair in zip(frames, zip(*maps, strict=True), strict=True):
            if position in kept:
                texture, normal = (torch.from_numpy(resized(m, size).copy()).permute(2, 0, 1).flatten(1) for m in pair)
                yield texture / 255, normal.flip(0) / 127.5 - 1

    mean, basis, shared = fit_light(read)
    light = local_light(read, (mean, basis, shared), size)
    return mean.view(3, *size), basis.view(-1, *size), light.view(-1, 3, *size)


class TextureTrainer:
    """Trains a `Generator` against a `Discriminator` (see `context.Trainer`): a window of frames a batch slot."""

    unit = "frames"
    remedy = "lower texture.lr_generator and texture.lr_discriminator, or train in float32"

    def __init__(self, context: TrainContext, dataset: SequenceDataset) -> None:
        """The same weights on every worker."""
        experiment, device = context.experiment, context.worker.device
        self.context, self.dataset, self.schedule = context, dataset, schedule(dataset)
        torch.manual_seed(experiment.train.seed)
        texture = experiment.texture
        self.generator = Generator(experiment.vid2vid)
        if experiment.vid2vid.relit:
            self.generator.start_from_light(*light_of(dataset))
        elif experiment.vid2vid.mean_residual:
            self.generator.start_from(mean_texture(dataset))
        self.generator.to(device)
        self.discriminator = Discriminator(experiment.vid2vid).to(device)
        self.average = Average(self.generator, texture.average_beta, texture.average_start)
        perceptual, _ = load_perceptual(texture)
        windows, rank, world = num_windows(experiment), context.worker.rank, context.worker.world
        self.networks = Networks(
            self._shared(self.generator),
            self._shared(self.discriminator),
            perceptual.to(device),
            predictor_adam(self.generator.parameters(), texture.lr_generator, texture),
            predictor_adam(self.discriminator.parameters(), texture.lr_discriminator, texture),
            texture,
            bfloat16=experiment.train.precision == "bfloat16",
            weight=len(range(rank, windows, world)) * world / windows,
        )

    def _shared(self, network: Any) -> Any:
        """A network whose gradients are averaged over the workers."""
        if self.context.worker.world == 1:
            return network
        # The first frames of a window leave parts of both networks unused. The buffers follow from the weights.
        return DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=True)

    def step(self, rows: list[Row], step: int) -> tuple[dict[str, Tensor], int]:
        """One window per row: an update of each side per frame."""
        labels, images, flows = to_window(rows, self.context.worker.device)
        frames, fakes = iterate(self.networks, labels, images, flows)
        self.average.update(self.generator)
        names = dict.fromkeys(name for frame in frames for name in frame)
        means = {name: torch.stack([frame[name] for frame in frames if name in frame]).mean() for name in names}
        means["squared"] = ((fakes - images) / 2).square().mean()
        means = {name: self.networks.weight * value for name, value in means.items()}
        return means, fakes.shape[0] * fakes.shape[1]

    def describe(self, means: dict[str, float], step: int) -> dict[str, float]:
        """The PSNR is that of the generated windows; each loss is averaged over the frames that have it."""
        losses = {name: value for name, value in means.items() if name != "squared"}
        return losses | {
            "loss": means["G/total"],
            "psnr": -10 * math.log10(max(means["squared"], 1e-12)),
            "lr": self.context.experiment.texture.lr_generator,
            "window": float(window_length(self.dataset, step - 1)),
        }

    def sync_buffers(self) -> None:
        """Nothing differs between the workers."""

    def validate(self, step: int) -> dict[str, float]:
        """Predict the validation frames with the average."""
        worker = self.context.worker
        generator = Generator(self.context.experiment.vid2vid, spectral=False).to(worker.device)
        generator.load_state_dict(self.average.weights)
        body = Body.from_rig(self.dataset.rig).to(device=worker.device)
        predictor = Predictor(generator.eval().requires_grad_(False), body, self.context.experiment)
        return validate(predictor, self.dataset, step, self.context.run, worker.rank, worker.world)

    def weights(self) -> dict[str, Any]:
        """The average's: what predicts."""
        return self.average.weights

    def training(self) -> dict[str, Any]:
        """What going on needs: the networks with u and v, Adam's moments, and how often the average was updated."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average_updates": self.average.updates,
            "generator_optimizer": self.networks.generator_optimizer.state_dict(),
            "discriminator_optimizer": self.networks.discriminator_optimizer.state_dict(),
        }

    def load(self, weights: dict[str, Any], training: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.generator.load_state_dict(training["generator"])
        self.discriminator.load_state_dict(training["discriminator"])
        self.average.load(weights, training["average_updates"])
        self.networks.generator_optimizer.load_state_dict(training["generator_optimizer"])
        self.networks.discriminator_optimizer.load_state_dict(training["discriminator_optimizer"])


def frame_cost(vid2vid: Vid2vidConfig, perceptual: nn.Module) -> tuple[int, int, int]:
    """Parameters of generator and discriminator, and about how many multiply-adds both updates of a frame take.

    Forward passes are counted on tensors without data. A backward pass costs twice as much, or once where it leads to
    an input alone: the generator's update passes real and fake frames and goes back through the fake ones.
    """
    generator, discriminator, cost = _networks_cost(vid2vid)
    with FakeTensorMode(), torch.no_grad():
        frame = torch.zeros(1, 3, *vid2vid.resolution)
        return generator, discriminator, int(cost + 1.5 * _multiply_adds(lambda: type(perceptual)()(frame, frame)))


@functools.lru_cache(maxsize=16)
def _networks_cost(vid2vid: Vid2vidConfig) -> tuple[int, int, float]:
    with FakeTensorMode(), torch.no_grad():
        generator, discriminator = Generator(vid2vid), Discriminator(vid2vid)
        frame, past = torch.zeros(1, 3, *vid2vid.resolution), torch.zeros(1, 2, 3, *vid2vid.resolution)
        cost = 3.0 * _multiply_adds(lambda: generator(frame, past, past))
        cost += 4.5 * _multiply_adds(lambda: discriminator(frame, frame, frame, past, past))
        sizes = [sum(p.numel() for p in network.parameters()) for network in (generator, discriminator)]
    return sizes[0], sizes[1], cost


def _multiply_adds(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() // 2


def estimate(dataset: SequenceDataset) -> tuple[list[str], float, int]:
    """For the preflight: lines on the model, multiply-adds of the whole training, bytes of a checkpoint.

    Raises UserError when the bound on memory is too small, or for weights of VGG-19 that cannot be read.
    """
    experiment = dataset.experiment
    windows, steps = num_windows(experiment), num_steps(dataset)
    dataset.room(-(-windows // max(1, experiment.train.min_workers or experiment.train.num_workers)))
    perceptual, loss_name = load_perceptual(experiment.texture)
    generator, discriminator, cost = frame_cost(experiment.vid2vid, perceptual)
    frames = windows * sum(window_length(dataset, step) for step in range(steps))
    lines = [
        f"textures  {generator / 1e6:.1f} M + {discriminator / 1e6:.1f} M parameters, {cost / 1e9:.1f} G multiply-adds "
        f"a frame, {steps} steps of {windows} windows of {window_length(dataset, 0)} to {dataset.longest()} frames, of "
        f"{len(dataset.frames)}",
        f"compared  by {loss_name}",
    ]
    warning = dataset.selection.warning
    lines += [warning] if warning else []
    # The generator, its average and two moments; the discriminator and two moments.
    return lines, float(frames * cost), 4 * (4 * generator + 3 * discriminator)
