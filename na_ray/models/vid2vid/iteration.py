"""One training step of the texture predictor: the alternating game over the frames of a window.

For every frame: the generator makes it from its own, detached, previous outputs; the discriminators learn to tell it
from the real one; the generator learns from what the changed discriminators say. No gradient crosses a frame.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from na_ray.config.texture import TextureConfig
from na_ray.models.vid2vid import losses
from na_ray.models.vid2vid.discriminator import Discriminator, DiscriminatorOutputs, history_length
from na_ray.models.vid2vid.generator import Generated, Generator

Window = Float[Tensor, "b t 3 h w"]
"""Maps of consecutive frames, in [-1, 1]."""


@dataclass(frozen=True)
class Flows:
    """Where each frame's pixels were in the frame before, for `flow_target` file; those of frame 0 are not read."""

    flow: Float[Tensor, "b t 2 h w"]
    """Pixels to the right and down."""
    confidence: Float[Tensor, "b t 1 h w"]
    """Weight of each pixel, in [0, 1]."""


@dataclass(frozen=True)
class Networks:
    """Who takes part in the game. Several workers wrap both networks by DistributedDataParallel."""

    generator: Generator | DistributedDataParallel
    discriminator: Discriminator | DistributedDataParallel
    perceptual: nn.Module
    """(image, target) to a scalar (`load_perceptual`)."""
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    config: TextureConfig
    bfloat16: bool = False
    """Run the networks in bfloat16 where it is safe."""
    weight: float = 1.0
    """Of these windows beside those of other workers, whose gradients are averaged with theirs."""

    @property
    def bare_discriminator(self) -> Discriminator:
        """The discriminator without its wrapper: when the generator learns, nothing of it is to be shared."""
        wrapped = isinstance(self.discriminator, DistributedDataParallel)
        discriminator = self.discriminator.module if wrapped else self.discriminator
        assert isinstance(discriminator, Discriminator)
        return discriminator


def iterate(
    networks: Networks, labels: Window, images: Window, flows: Flows | None = None
) -> tuple[list[dict[str, Tensor]], Window]:
    """Play a window: one update of each side per frame.

    Returns each frame's losses as `D/...` and `G/...`, unweighted but for the totals, and the generated window.
    """
    fakes: list[Tensor] = []
    record = []
    for t in range(labels.shape[1]):
        losses, fake = train_frame(networks, t, labels, images, fakes, flows)
        record.append(losses)
        fakes.append(fake)
    return record, torch.stack(fakes, dim=1)


def train_frame(
    networks: Networks, t: int, labels: Window, images: Window, fakes: list[Tensor], flows: Flows | None
) -> tuple[dict[str, Tensor], Float[Tensor, "b 3 h w"]]:
    """One update of each side for frame t, given the generated frames before it. Returns losses and the frame."""
    label, image = labels[:, t], images[:, t]
    past = slice(max(0, t - history_length(networks.bare_discriminator.config)), t)
    past_real, past_fake = images[:, past], _stacked(fakes[past], images)
    recent = slice(max(0, t - 2), t)
    with _autocast(networks, image):
        generated = networks.generator(label, labels[:, recent], _stacked(fakes[recent], images))
    fake = generated.image.detach()
    with _autocast(networks, image):
        outputs = networks.discriminator(label, image, fake, past_real, past_fake)
    record = _learn(networks, networks.discriminator_optimizer, _discriminator_losses(networks.config, outputs), "D")
    with _frozen(networks.bare_discriminator) as discriminator, _autocast(networks, image):
        outputs = discriminator(label, image, generated.image, past_real, past_fake)
    terms = _generator_losses(
        networks.config, outputs, generated, image, _flow_target(networks.config, images, t, flows)
    )
    if networks.config.perceptual_weight:
        with _autocast(networks, image):
            distance = networks.perceptual(generated.image, image)
        terms["perceptual"] = (distance, networks.config.perceptual_weight)
    return record | _learn(networks, networks.generator_optimizer, terms, "G"), fake


Terms = dict[str, tuple[Tensor, float]]
"""Losses by name, each with its weight."""


def _stacked(frames: list[Tensor], like: Window) -> Float[Tensor, "b k 3 h w"]:
    return torch.stack(frames, dim=1) if frames else like[:, :0]


def _autocast(networks: Networks, image: Tensor) -> torch.autocast:
    return torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=networks.bfloat16)


@contextlib.contextmanager
def _frozen(network: Discriminator) -> Iterator[Discriminator]:
    """No gradients of its own: they would be thrown away."""
    network.requires_grad_(False)
    try:
        yield network
    finally:
        network.requires_grad_(True)


def _learn(networks: Networks, optimizer: torch.optim.Optimizer, terms: Terms, side: str) -> dict[str, Tensor]:
    """One update. Returns the losses and their weighted total."""
    total = torch.stack([weight * value for value, weight in terms.values()]).sum()
    optimizer.zero_grad(set_to_none=True)
    (networks.weight * total).backward()
    optimizer.step()
    return {f"{side}/{name}": value.detach() for name, (value, _) in terms.items()} | {f"{side}/total": total.detach()}


def _discriminator_losses(config: TextureConfig, outputs: DiscriminatorOutputs) -> Terms:
    terms = {"gan": (losses.discriminator_loss(outputs.image), config.gan_weight)}
    for scale, output in outputs.temporal.items():
        terms[f"gan_t{scale}"] = (losses.discriminator_loss(output), config.gan_weight)
    return terms


def _generator_losses(
    config: TextureConfig,
    outputs: DiscriminatorOutputs,
    generated: Generated,
    image: Float[Tensor, "b 3 h w"],
    target: losses.FlowTarget | None,
) -> Terms:
    terms: Terms = {}
    for suffix, output in [("", outputs.image), *((f"_t{s}", v) for s, v in outputs.temporal.items())]:
        terms[f"gan{suffix}"] = (losses.generator_loss(output.fake.logits), config.gan_weight)
        matching = losses.feature_matching(output.fake, output.real)
        terms[f"feature_matching{suffix}"] = (matching, config.feature_weight)
    if config.flow_weight:
        found = losses.flow_losses(generated, image, target, parity=config.parity)
        terms |= {name: (value, config.flow_weight) for name, value in found.items()}
    return terms


def _flow_target(config: TextureConfig, images: Window, t: int, flows: Flows | None) -> losses.FlowTarget | None:
    """What the flow from frame t to t - 1 is drawn to; nothing before frame 2, which has none."""
    if config.flow_target == "none" or t < 2:
        return None
    if config.flow_target == "file":
        assert flows is not None, "the stream delivers the flows"
        return losses.FlowTarget(flows.flow[:, t], flows.confidence[:, t])
    flow = torch.zeros_like(images[:, t, :2])
    return losses.FlowTarget(flow, losses.confidence(images[:, t], images[:, t - 1], flow))
