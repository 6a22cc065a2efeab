"""The radiance field: where a sample lies on the body, and what the texture shows there, to density and color.

Symbols: s = (2u - 1, 2v - 1, signed distance) coordinates on the surface; x canonical position (m); d view direction;
t texture features. H = `hidden`, C = channels of the texture encoder.

    h_s = MLP_4(PE(s))                          surface features
    x'  = x + W relu(W [h_s, t])                canonical position, corrected
    h   = MLP_8(PE(x')), skip before layer 4    shape features
    sigma = w relu(W h)                         density, 1/m, before the ReLU of compositing
    c   = MLP_5([h, h_s, t, PE(d)])             RGB in [-1, 1], not clamped

With `mesh_residual` sigma and c are added to the density and the texture of the posed mesh (`mesh_prior`), and that
texture's RGB is an input of c's MLP where the prior is `surface`.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.config import NerfConfig
from na_ray.models.nerf.encoding import PositionalEncoding
from na_ray.models.nerf.mesh_prior import SHARP, SOFT
from na_ray.models.nerf.texture_encoder import resize_matrix

SKIP = 4
"""Layer of the shape MLP that sees the encoded position again."""


def _kaiming(layer: nn.Linear) -> nn.Linear:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def _mlp(*sizes: int) -> nn.ModuleList:
    """Linear layers of the given widths, Kaiming-normal."""
    return nn.ModuleList(_kaiming(nn.Linear(a, b)) for a, b in itertools.pairwise(sizes))


def _relu_layers(layers: nn.ModuleList, x: Tensor) -> Tensor:
    # In place: a linear layer does not need its output in the backward pass.
    for layer in layers:
        x = F.relu(layer(x), inplace=True)
    return x


def _linear(layer: nn.Linear, x: Tensor, projected: Tensor, start: int, channels: int) -> Tensor:
    """`layer` of x with texture features inserted at column `start`, given their product with the layer's weight."""
    weight = torch.cat([layer.weight[:, :start], layer.weight[:, start + channels :]], dim=1)
    return torch.addmm(projected + layer.bias, x, weight.t())


def _resize_sum(maps: list[Tensor], height: int, width: int) -> Tensor:
    """The sum of maps (h, w, d) of any sizes, each resized bilinearly with the corner pixels' centers aligned.

    As matrix products, rows of all maps in one: several times faster on a CPU than `F.interpolate` with its backward.
    """
    rows = [resize_matrix(m.shape[0], height, m) for m in maps]
    wide = [torch.matmul(resize_matrix(m.shape[1], width, m), m) for m in maps]
    return (torch.cat(rows, dim=1) @ torch.cat(wide).flatten(1)).view(height, width, -1)


class Deformation(nn.Module):
    """Residual of the canonical position (m) from surface features and texture; zero at first."""

    def __init__(self, hidden: int, channels: int) -> None:
        super().__init__()
        self.hidden = _kaiming(nn.Linear(hidden + channels, hidden))
        self.residual = nn.Linear(hidden, 3)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    def forward(self, features: Float[Tensor, "n h"], texture: Float[Tensor, "n h"]) -> Float[Tensor, "n 3"]:
        """The residual; `texture` holds the texture's products with the first layer (`RadianceField.project`)."""
        width = features.shape[1]
        hidden = _linear(self.hidden, features, texture, width, self.hidden.in_features - width)
        return self.residual(F.relu(hidden, inplace=True))


class RadianceField(nn.Module):
    """Density and color at samples near the body, given the texture there."""

    deformation: Deformation | None

    def __init__(self, config: NerfConfig, channels: tuple[int, ...]) -> None:
        """`channels`: of each latent of the texture encoder."""
        super().__init__()
        width, self.channels = config.hidden, channels
        self.surface_encoding = PositionalEncoding(config.local_frequencies)
        self.position_encoding = PositionalEncoding(config.position_frequencies, math.pi)
        self.direction_encoding = PositionalEncoding(config.direction_frequencies, math.pi)
        position = self.position_encoding.size()
        self.surface = _mlp(self.surface_encoding.size(), *[width] * 4)
        self.deformation = Deformation(width, sum(channels)) if config.deformation else None
        self.shape = _mlp(position, *[width] * SKIP)
        self.shape.extend(_mlp(position + width, *[width] * 4))
        self.density_hidden = nn.Linear(width, width // 2)
        self.density = nn.Linear(width // 2, 1)
        nn.init.constant_(self.density.bias, 0.5)
        self.sharp, self.mesh_residual = config.sharp, config.mesh_residual
        self.prior = SHARP if config.sharp else SOFT
        seen = 2 * width + sum(channels) + self.direction_encoding.size() + (3 if self.sharp else 0)
        self.color_input = _kaiming(nn.Linear(seen, width))
        self.color = _mlp(*[width] * 4, 3)
        if config.mesh_residual:  # the first picture is the textured mesh
            for parameter in (*self.density.parameters(), *self.color[-1].parameters()):
                nn.init.zeros_(parameter)

    def project(self, latents: list[Tensor], texture: Float[Tensor, "3 i j"]) -> Float[Tensor, "h w d"]:
        """The texture's share of the first layers that see it, per texel: map of d = 2H (H without deformation).

        With the soft mesh prior the texture's own RGB, in [-1, 1], follows in three more channels.
        A linear layer commutes with interpolation: applied to the small latents before they are resized, it costs a
        sixth of what it costs per sample at full size, for the same numbers up to rounding.
        """
        width = self.density_hidden.in_features
        weight = self.color_input.weight[:, 2 * width : 2 * width + sum(self.channels)]
        if self.deformation is not None:
            weight = torch.cat([self.deformation.hidden.weight[:, width:], weight])
        parts = weight.split(self.channels, dim=1)
        first, *rest = (F.linear(latent[0].permute(1, 2, 0), part) for latent, part in zip(latents, parts, strict=True))
        projected = first + _resize_sum(rest, first.shape[0], first.shape[1])
        if not self.mesh_residual or self.sharp:
            return projected
        rgb = F.interpolate(texture[None], projected.shape[:2], mode="area")[0] * 2 - 1
        return torch.cat([projected, rgb.permute(1, 2, 0).to(projected.dtype)], dim=2)

    def surface_features(self, surface: Float[Tensor, "n 3"]) -> Float[Tensor, "n h"]:
        """h_s of the coordinates on the surface."""
        return _relu_layers(self.surface, self.surface_encoding(surface))

    def shape_features(self, position: Float[Tensor, "n 3"]) -> Float[Tensor, "n h"]:
        """h of a canonical position (m)."""
        encoded = self.position_encoding(position)
        hidden = _relu_layers(self.shape[:SKIP], encoded)
        return _relu_layers(self.shape[SKIP:], torch.cat([encoded, hidden.to(encoded.dtype)], dim=1) / math.sqrt(2))

    def forward(
        self,
        surface: Float[Tensor, "n 3"],
        position: Float[Tensor, "n 3"],
        directions: Float[Tensor, "n 3"],
        texture: Float[Tensor, "n d"],
        rgb: Float[Tensor, "n 3"] | None = None,
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """Density (1/m, may be negative) and RGB (nominally in [-1, 1]) of n samples.

        surface: (2u - 1, 2v - 1, signed distance in m); position: un-posed, m; texture: rows of the `project` map;
        rgb: the stored texture map's, in [-1, 1], where the mesh prior is `surface`.
        """
        width = self.density_hidden.in_features
        inputs = [self.direction_encoding(directions)]
        if self.sharp:
            assert rgb is not None, "the surface prior starts from the texture's colors"
            inputs.append(rgb)
        elif self.mesh_residual:
            texture, rgb = texture[:, :-3], texture[:, -3:]
        surface_features = self.surface_features(surface)
        if self.deformation is not None:
            for_position, texture = texture.split(width, dim=1)
            position = position + self.deformation(surface_features, for_position)
        shape = self.shape_features(position)
        sigma = self.density(F.relu(self.density_hidden(shape), inplace=True))
        seen = torch.cat([shape, surface_features, *(x.to(shape.dtype) for x in inputs)], dim=1)
        hidden = _linear(self.color_input, seen, texture, 2 * width, sum(self.channels))
        hidden = _relu_layers(self.color[:-1], F.relu(hidden, inplace=True))
        # Compositing sums over rays: never in half precision.
        sigma, color = sigma[:, 0].to(position.dtype), self.color[-1](hidden).to(position.dtype)
        if rgb is not None:
            sigma = self.prior.density(surface[:, 2]) + self.prior.gain * sigma
            color = color + rgb.to(position.dtype)
        return sigma, color
