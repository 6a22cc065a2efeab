"""Building blocks of the vid2vid networks: spectrally normalized convolutions, SPADE, residual blocks.

Symbols: W a weight as a matrix (out, in * kernel^2), u and v estimates of its first singular vectors.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SLOPE = 0.2
"""Slope of the leaky ReLUs below zero."""


class Convolution(nn.Module):
    """A zero-padded 2D convolution with a bias, whose weight may be divided by its spectral norm (Miyato et al. 2018).

    `weight` is what is trained. With `spectral`, W / sigma convolves, sigma = u^T W v with u and v held constant; in
    training mode every use first improves them by one power iteration: v = W^T u / |W^T u|, u = W v / |W v|.
    """

    u: Tensor
    v: Tensor

    def __init__(
        self, channels_in: int, channels: int, kernel: int = 3, stride: int = 1, padding: int = 1, *, spectral: bool
    ) -> None:
        super().__init__()
        self.stride, self.padding, self.spectral = stride, padding, spectral
        self.weight = nn.Parameter(torch.empty(channels, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        if spectral:
            self.register_buffer("u", F.normalize(torch.randn(channels), dim=0))
            self.register_buffer("v", F.normalize(torch.randn(channels_in * kernel**2), dim=0))

    def scaled_weight(self) -> Float[Tensor, "o i k k"]:
        """The weight that convolves: one use of the layer (u and v move in training mode)."""
        if not self.spectral:
            return self.weight
        # Half precision would spoil the estimate of sigma, and with it the scale of the whole layer.
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self.weight.flatten(1)
            # Copies: the next use changes the buffers, while the backward pass still needs what this one saw.
            u, v = self._iterate(matrix.detach()) if self.training else (self.u.clone(), self.v.clone())
            return self.weight / torch.dot(u, torch.mv(matrix, v))

    @torch.no_grad()
    def _iterate(self, matrix: Float[Tensor, "o n"]) -> tuple[Float[Tensor, " o"], Float[Tensor, " n"]]:
        v = F.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=1e-12)
        u = F.normalize(torch.mv(matrix, v), dim=0, eps=1e-12)
        self.u.copy_(u)
        self.v.copy_(v)
        return u, v

    def forward(
        self, x: Float[Tensor, "b i h w"], weight: Float[Tensor, "o i k k"] | None = None
    ) -> Float[Tensor, "b o y x"]:
        """The convolution of x; with `weight` (of an earlier `scaled_weight()`) it doesn't count as a use."""
        return F.conv2d(x, self.scaled_weight() if weight is None else weight, self.bias, self.stride, self.padding)


def initialize(network: nn.Module) -> None:
    """Start values of the original: biases 0; Glorot's normal distribution with gain 0.02 for layers without spectral
    norm. The others keep uniform +-1/sqrt(fan_in), whose scale their division by sigma removes anyway.
    """
    for module in network.modules():
        if isinstance(module, Convolution | nn.Linear):
            nn.init.zeros_(module.bias)
            if isinstance(module, nn.Linear) or not module.spectral:
                nn.init.xavier_normal_(module.weight, gain=0.02)


def folded(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of the same network built with `spectral=False`: every weight divided by its spectral norm.

    Detached copies, with the u and v that the last forward pass left (no power iteration).
    """
    state = {name: value.detach().clone() for name, value in network.state_dict().items()}
    for name, module in network.named_modules():
        if isinstance(module, Convolution) and module.spectral:
            u, v = state.pop(f"{name}.u"), state.pop(f"{name}.v")
            weight = state[f"{name}.weight"]
            weight /= torch.dot(u, torch.mv(weight.flatten(1), v))
    return state


class ConvBlock(nn.Module):
    """Convolution, then optionally an affine instance norm, then optionally a leaky ReLU."""

    def __init__(self, conv: Convolution, norm: bool = False, activate: bool = True) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.InstanceNorm2d(conv.weight.shape[0], affine=True) if norm else None
        self.activate = activate

    def forward(self, x: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o y x"]:
        """The block's output."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return F.leaky_relu(x, SLOPE, inplace=True) if self.activate else x


class SpadeConv(nn.Module):
    """Modulation of normalized features by conditioning maps (SPADE, Park et al. 2019), then a convolution."""

    def __init__(self, channels_in: int, channels: int, maps: Sequence[int], kernel: int, *, spectral: bool) -> None:
        super().__init__()
        self.spade = nn.ModuleList(Convolution(c, 2 * channels_in, 1, padding=0, spectral=False) for c in maps)
        self.conv = Convolution(channels_in, channels, kernel, padding=kernel // 2, spectral=spectral)

    def forward(
        self, x: Float[Tensor, "b i h w"], maps: Sequence[Tensor], weight: Float[Tensor, "o i k k"], activate: bool
    ) -> Float[Tensor, "b o h w"]:
        """x_k+1 = x_k (1 + gamma_k) + beta_k for every map given (b, c_k, h_k, w_k), leaky ReLU, convolution."""
        for layer, condition in zip(self.spade, maps, strict=False):
            scale, shift = modulation(layer, condition, (x.shape[2], x.shape[3]))
            x = torch.addcmul(shift, x, scale)
        x = F.leaky_relu(x, SLOPE, inplace=True) if activate else x
        return self.conv(x, weight)


def modulation(layer: nn.Module, condition: Float[Tensor, "b c i j"], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(1 + gamma, beta), each (b, channels, *size), from one conditioning map resized to nearest neighbors.

    A 1x1 convolution and a choice of pixels commute: it runs at the smaller of the two sizes.
    """
    assert isinstance(layer, Convolution)
    channels = layer.weight.shape[0] // 2
    bias = torch.cat([layer.bias[:channels] + 1, layer.bias[channels:]])
    if condition.shape[2] > size[0]:
        condition = F.interpolate(condition, size)
    both = F.conv2d(condition, layer.weight, bias)
    if both.shape[2:] != size:
        both = F.interpolate(both, size)
    scale, shift = both.chunk(2, dim=1)
    return scale, shift


class SpadeBlock(nn.Module):
    """Residual block: twice [instance norm, SPADE, leaky ReLU, conv 3x3]; beside it the identity, or, where the width
    changes, [instance norm, SPADE, conv 1x1].

    `maps`: channels of the conditioning maps. `recompute`: the backward pass recomputes the block's activations.
    """

    def __init__(
        self, channels_in: int, channels: int, maps: Sequence[int], *, spectral: bool, recompute: bool = False
    ) -> None:
        super().__init__()
        hidden = min(channels_in, channels)
        self.recompute = recompute
        self.first = SpadeConv(channels_in, hidden, maps, 3, spectral=spectral)
        self.second = SpadeConv(hidden, channels, maps, 3, spectral=spectral)
        widens = channels_in != channels
        self.skip = SpadeConv(channels_in, channels, maps, 1, spectral=spectral) if widens else None

    def forward(self, x: Float[Tensor, "b i h w"], maps: Sequence[Tensor]) -> Float[Tensor, "b o h w"]:
        """The block's output, given as many conditioning maps as there are (those left out don't act)."""
        layers = [self.first, self.second] if self.skip is None else [self.first, self.second, self.skip]
        # Outside of what is recomputed: a second power iteration would change the weights under the gradient.
        weights = [layer.conv.scaled_weight() for layer in layers]
        if self.recompute and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._run, x, maps, weights, use_reentrant=False, preserve_rng_state=False)
            return out
        return self._run(x, maps, weights)

    def _run(self, x: Tensor, maps: Sequence[Tensor], weights: list[Tensor]) -> Tensor:
        normal = F.instance_norm(x)
        hidden = F.instance_norm(self.first(normal, maps, weights[0], True))
        shortcut = x if self.skip is None else self.skip(normal, maps, weights[2], False)
        return self.second(hidden, maps, weights[1], True) + shortcut
