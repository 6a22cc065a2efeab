"""The generator: a frame of texture-map video from the normal map of its pose and the frames before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.config.texture import Vid2vidConfig
from na_ray.config.values import UserError
from na_ray.models.lighting import COUNT, relit
from na_ray.models.vid2vid.blocks import SLOPE, Convolution, SpadeBlock, initialize
from na_ray.models.vid2vid.embed import Embedder
from na_ray.models.vid2vid.flow import FlowNetwork, warp


@dataclass(frozen=True)
class Generated:
    """A frame, and what of the previous one it was made from (None where fewer than two frames precede)."""

    image: Float[Tensor, "b 3 h w"]
    """RGB in [-1, 1]."""
    flow: Float[Tensor, "b 2 h w"] | None
    """Where each pixel was in the previous image: pixels to the right and down."""
    mask: Float[Tensor, "b 1 h w"] | None
    """Occlusion: 1 where the warped image is not to be trusted."""
    warped: Float[Tensor, "b 3 h w"] | None
    """The previous image, warped by the flow."""
    embedding: list[Tensor] | None = None
    """Evaluation mode only: the label's embedding, for the next frame's `previous`."""


class Generator(nn.Module):
    """Features from a learned code (first frame) or from the previous image (later ones), brought to full resolution
    by residual blocks that see the label's embedding, the finest also that of the warped previous image.

    `spectral=False`: plain convolutions, to be loaded with `folded` weights for inference.
    """

    base: Tensor
    basis: Tensor
    light: Tensor

    def __init__(self, config: Vid2vidConfig, spectral: bool = True) -> None:
        super().__init__()
        self.config = config
        width, levels = self._width, config.embed_downsamples
        embedded = [width(i) for i in range(levels + 1)]
        self.label_embedder = Embedder(3, embedded, skips=False, spectral=spectral)
        self.up = nn.ModuleList(self._block(i + 1, i, i, spectral) for i in range(config.num_layers + 1))
        self.head = Convolution(width(0), 3, spectral=False)
        self.code = nn.Linear(config.latent_channels, width(config.num_layers + 1) * math.prod(config.code_size))
        self.stem = Convolution(3, width(0), spectral=False)
        depth = config.num_downsamples_img
        self.down = nn.ModuleList(self._block(i, i + 1, i, spectral) for i in range(depth + 1))
        bridges = 2 * math.ceil((config.num_layers - depth) / 2)
        self.bridge = nn.ModuleList(self._block(depth + 1, depth + 1, depth + 1, spectral) for _ in range(bridges))
        self.flow = FlowNetwork(config, spectral)
        warped = [width(i) for i in range(config.warp_downsamples + 1)]
        self.warp_embedder = Embedder(4, warped, skips=True, spectral=spectral)
        if config.mean_residual:
            self.register_buffer("base", torch.zeros(3, *config.resolution))
        if config.relit:
            self.register_buffer("basis", torch.zeros(COUNT, *config.resolution))
            self.register_buffer("light", torch.zeros(COUNT, 3, *config.resolution))
        initialize(self)

    def start_from(self, mean: Float[Tensor, "3 h w"]) -> None:
        """Make the mean texture, RGB in [-1, 1], what the residuals are added to (`mean_residual`)."""
        self.base.copy_(_before_tanh(mean))

    def start_from_light(
        self, mean: Float[Tensor, "3 h w"], basis: Float[Tensor, "8 h w"], light: Float[Tensor, "8 3 h w"]
    ) -> None:
        """Make the mean texture, RGB in [0, 1], in the light of each frame's normals what the residuals are added to
        (`relit`). `basis`: the mean harmonics of the normals, `light`: that of each texel
        (`models.lighting.local_light`)."""
        self.base.copy_(mean)
        self.basis.copy_(basis)
        self.light.copy_(light)

    def start(self, label: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "#b 3 h w"]:
        """What the residuals are added to, before the tanh: the same for every frame, or lit by its normals."""
        if not self.config.relit:
            return self.base[None]
        mean, basis, light = self.base.flatten(1), self.basis.flatten(1), self.light.flatten(2)
        # Normal maps hold z, y, x; what is white between the charts never changes, nor does its light.
        lit = [mean + relit(mean, basis, light, normals) for normals in label.to(mean).flip(1).flatten(2)]
        return _before_tanh(2 * torch.stack(lit).view_as(label) - 1)

    def _width(self, level: int) -> int:
        """Channels at 1/2^level of the full size."""
        return min(self.config.max_num_filters, self.config.num_filters << level)

    def _block(self, level_in: int, level_out: int, level: int, spectral: bool) -> SpadeBlock:
        # The downsampling blocks own the second modulation too, and never use it: so does the original.
        maps = [self._width(self._embedded(level))] + ([self._width(level)] if level < self.config.warp_layers else [])
        recompute = self.config.activation_checkpointing
        widths = self._width(level_in), self._width(level_out)
        return SpadeBlock(*widths, maps, spectral=spectral, recompute=recompute)

    def _embedded(self, level: int) -> int:
        """The level of the label's embedding that conditions a block at 1/2^level of the full size."""
        return min(level, self.config.embed_downsamples)

    def forward(
        self,
        label: Float[Tensor, "b 3 h w"],
        past_labels: Float[Tensor, "b k 3 h w"] | None = None,
        past_images: Float[Tensor, "b k 3 h w"] | None = None,
        previous: list[Tensor] | None = None,
    ) -> Generated:
        """The frame of a label map, given the labels and images of the k = 0, 1 or 2 frames before it, oldest first.

        Maps are in [-1, 1], at the configuration's `resolution`. `previous`: `Generated.embedding` of the frame before,
        which saves computing it again (evaluation mode only). Raises UserError for maps of another size.
        """
        self._check_size(label)
        current = self.label_embedder(label)
        flow = mask = warped = None
        finer: list[Tensor] = []
        if past_labels is None or past_images is None or not past_labels.shape[1]:
            x = self._from_code(len(label), current)
        else:
            assert previous is None or not self.training, "every use of the embedder moves u and v in training"
            before = self.label_embedder(past_labels[:, -1]) if previous is None else previous
            x = self._from_image(past_images[:, -1], before, current)
            if past_labels.shape[1] > 1:
                flow, mask = self._flow(label, past_labels, past_images)
                warped = warp(past_images[:, -1], flow)
                finer = self.warp_embedder(torch.cat([warped, mask], dim=1))
        image = self._to_image(x, current, finer, label)
        return Generated(image, flow, mask, warped, None if self.training else current)

    def _check_size(self, label: Tensor) -> None:
        if tuple(label.shape[2:]) != self.config.resolution:
            (height, width), (found_height, found_width) = self.config.resolution, label.shape[2:]
            raise UserError(
                f"maps of {found_height}x{found_width} pixels: the generator works at {height}x{width} "
                "(vid2vid.resolution): resize them"
            )

    def _flow(self, label: Tensor, past_labels: Tensor, past_images: Tensor) -> tuple[Tensor, Tensor]:
        labels = torch.cat([past_labels[:, -2:].flatten(1, 2), label], dim=1)
        flow, mask = self.flow(labels, past_images[:, -2:].flatten(1, 2))
        return flow, mask

    def _from_code(self, batch: int, current: Sequence[Tensor]) -> Tensor:
        """Features at 1/2^num_downsamples_img of the full size, from the learned code."""
        nothing = self.code.weight.new_zeros(batch, self.config.latent_channels)
        x = self.code(nothing).view(batch, -1, *self.config.code_size)
        for i in reversed(range(self.config.num_downsamples_img + 1, self.config.num_layers + 1)):
            x = F.interpolate(self.up[i](x, [current[self._embedded(i)]]), scale_factor=2.0)
        return x

    def _from_image(self, image: Tensor, before: Sequence[Tensor], current: Sequence[Tensor]) -> Tensor:
        """The same, from the previous image, its label's embedding and then the current label's."""
        x = self.stem(image)
        depth = self.config.num_downsamples_img
        for i, block in enumerate(self.down):
            x = block(x, [before[self._embedded(i)]])
            x = F.avg_pool2d(x, 3, 2, 1) if i < depth else x
        for i, block in enumerate(self.bridge):
            labels = before if i < len(self.bridge) // 2 else current
            x = block(x, [labels[self._embedded(depth + 1)]])
        return x

    def _to_image(self, x: Tensor, current: Sequence[Tensor], finer: Sequence[Tensor], label: Tensor) -> Tensor:
        for i in reversed(range(self.config.num_downsamples_img + 1)):
            maps = [current[self._embedded(i)], *(finer[i : i + 1] if i < self.config.warp_layers else [])]
            x = self.up[i](x, maps)
            x = F.interpolate(x, scale_factor=2.0) if i else x
        with torch.autocast(x.device.type, enabled=False):
            x = self.head(F.leaky_relu(x.to(self.head.weight.dtype), SLOPE))
            return torch.tanh(x + self.start(label) if self.config.mean_residual else x)


def _before_tanh(image: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """Its ends lie at infinity."""
    return torch.atanh(image.clamp(-0.99, 0.99))
