"""The discriminators: is a frame real, given its label, and is its motion real, at several paces?"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.config.texture import Vid2vidConfig
from na_ray.models.vid2vid.blocks import ConvBlock, Convolution, initialize


@dataclass(frozen=True)
class Patches:
    """What the sub-discriminators of one discriminator say, finest first."""

    logits: list[Tensor]
    """(b, 1, h, w) each: high where the patch looks real."""
    features: list[list[Tensor]]
    """Per sub-discriminator the outputs of its layers, (b, c, h, w) each."""


@dataclass(frozen=True)
class DiscriminatorOutput:
    """A discriminator's word on the real frames and on the generated ones."""

    real: Patches
    fake: Patches


@dataclass(frozen=True)
class DiscriminatorOutputs:
    """All that is said of one frame."""

    image: DiscriminatorOutput
    temporal: dict[int, DiscriminatorOutput]
    """By temporal scale; only those scales for which there are enough frames."""


def history_length(config: Vid2vidConfig) -> int:
    """Past frames that the coarsest temporal discriminator looks back to (18 by default; 0 without any)."""
    return 2 * 3 ** (config.temporal_scales - 1) if config.temporal_scales else 0


class PatchDiscriminator(nn.Module):
    """Convolutions 4x4 that halve, the last but one without, and a map of logits (PatchGAN, Isola et al. 2017)."""

    def __init__(self, channels_in: int, width: int, num_layers: int, most: int, norm: bool) -> None:
        super().__init__()
        widths = [channels_in, *(min(most, width << i) for i in range(num_layers + 1))]
        strides = [2] * num_layers + [1]
        blocks = [
            ConvBlock(Convolution(a, b, 4, stride, spectral=True), norm)
            for a, b, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        ]
        logits = ConvBlock(Convolution(widths[-1], 1, spectral=True), activate=False)
        self.layers = nn.ModuleList([*blocks, logits])

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The outputs of all layers, (b, c, h, w) each; the last are the logits, with c = 1."""
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        return outputs[1:]


def _judged(discriminators: nn.Module, x: Float[Tensor, "b c h w"]) -> Patches:
    """What each sub-discriminator says of the input, halved from one to the next."""
    logits, features = [], []
    for i, discriminator in enumerate(discriminators.children()):
        if i:
            size = (x.shape[2] // 2, x.shape[3] // 2)
            x = F.interpolate(x, size, mode="bilinear", align_corners=True)
        *hidden, last = discriminator(x)
        logits.append(last)
        features.append(hidden)
    return Patches(logits, features)


class Discriminator(nn.Module):
    """The image discriminator, which sees label and frame, and one temporal discriminator per scale s, which sees the
    frames t - 2 * 3^s, t - 3^s and t. Each has several sub-discriminators at falling resolutions.
    """

    def __init__(self, config: Vid2vidConfig) -> None:
        super().__init__()
        most = config.max_discriminator_filters
        image = (6, config.image_filters, config.image_layers, most, True)
        temporal = (9, config.temporal_filters, config.temporal_layers, most, False)
        self.config = config
        self.image = nn.ModuleList(PatchDiscriminator(*image) for _ in range(config.image_scales))
        self.temporal = nn.ModuleList(
            nn.ModuleList(PatchDiscriminator(*temporal) for _ in range(config.temporal_subscales))
            for _ in range(config.temporal_scales)
        )
        initialize(self)

    def forward(
        self,
        label: Float[Tensor, "b 3 h w"],
        real: Float[Tensor, "b 3 h w"],
        fake: Float[Tensor, "b 3 h w"],
        past_real: Float[Tensor, "b k 3 h w"],
        past_fake: Float[Tensor, "b k 3 h w"],
    ) -> DiscriminatorOutputs:
        """Judge a frame, given the k frames before it (oldest first; `history_length` of them is enough).

        Real and fake pass one after the other, in this order: in training mode each pass moves u and v.
        """
        frames = [(real, past_real), (fake, past_fake)]
        image = DiscriminatorOutput(*(_judged(self.image, torch.cat([label, frame], dim=1)) for frame, _ in frames))
        temporal = {}
        for scale, discriminators in enumerate(self.temporal):
            if past_real.shape[1] >= 2 * 3**scale:
                temporal[scale] = DiscriminatorOutput(
                    *(_judged(discriminators, _triple(*pair, scale)) for pair in frames)
                )
        return DiscriminatorOutputs(image, temporal)


def _triple(frame: Tensor, past: Tensor, scale: int) -> Float[Tensor, "b 9 h w"]:
    step = 3**scale
    return torch.cat([past[:, -2 * step], past[:, -step], frame], dim=1)
