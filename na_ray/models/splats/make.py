"""A texel's numbers to its Gaussian, for autograd."""

from collections.abc import Sequence
from typing import Any

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from na_ray.body import kernels
from na_ray.models.splats import texel_kernels

THICKNESS = 0.0015
"""Of a texel's Gaussian before training, m: two standard deviations or so."""


class MakeGaussians(torch.autograd.Function):
    """`texel_kernels.make_gaussians` for autograd: differentiable in a texel's own numbers and the decoder's, and in
    its point and frame.

    The decoder's numbers x (14, s * s), in the order of `places`, reach the kernels as shares (1 + tanh(x / 3)) / 2:
    a CPU makes them faster by torch than there."""

    @staticmethod
    def forward(ctx: Any, fixed: Tensor, posed: Tensor, texture: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        """Means, factors, opacities and colors."""
        lit, points, frames, texels = rest
        n, device = fixed.shape[1], fixed.device
        ctx.inputs = [t.detach().contiguous() for t in (texels.index, texels.places, points, frames, texels.footprints)]
        shares = torch.sigmoid(posed.detach() * (2 / 3))
        ctx.parameters = [t.detach().reshape(len(t), -1).contiguous() for t in (texture, lit, fixed, shares)]
        outputs = [fixed.new_zeros(n, *shape) for shape in ((3,), (3, 3), (), (3,))]
        with kernels.on_device(device) as name:
            wp.launch(texel_kernels.make_gaussians, n, _inputs(ctx), _outputs(outputs), device=name)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Of the first two arguments, and of points and frames where these are learned."""
        _, _, fixed, shares = ctx.parameters
        found = torch.zeros_like(fixed), torch.zeros_like(shares)
        given = _outputs([g.contiguous() for g in grads])
        index, places, _, *rest = _inputs(ctx)
        outputs = [kernels.as_array(g) for g in found]
        with kernels.on_device(fixed.device) as name:
            inputs = [index, places, *rest, *given]
            wp.launch(texel_kernels.make_gaussians_back, fixed.shape[1], inputs, outputs, device=name)
        frames = _frames_back(ctx, grads) if ctx.needs_input_grad[5] else None
        points = grads[0] if ctx.needs_input_grad[4] else None
        by_output = torch.ops.aten.sigmoid_backward(found[1], shares).mul_(2 / 3)
        return found[0], by_output, None, None, points, frames, None


def _frames_back(ctx: Any, grads: Sequence[Tensor]) -> Tensor:
    """The gradient (n, 3, 3) of the texels' frames."""
    means, factors = (g.contiguous() for g in grads[:2])
    found = torch.zeros_like(factors)
    _, places, _, _, footprints, thickness, _, _, fixed, shares = _inputs(ctx)
    given = [kernels.as_array(means, dtype=wp.vec3), kernels.as_array(factors, dtype=wp.mat33)]
    with kernels.on_device(found.device) as name:
        inputs = [places, footprints, thickness, fixed, shares, *given]
        outputs = [kernels.as_array(found, dtype=wp.mat33)]
        wp.launch(texel_kernels.frames_back, len(found), inputs, outputs, device=name)
    return found


def _inputs(ctx: Any) -> list[Any]:
    index, places, points, frames, footprints = ctx.inputs
    return [
        kernels.as_array(index),
        kernels.as_array(places),
        kernels.as_array(points, dtype=wp.vec3),
        kernels.as_array(frames, dtype=wp.mat33),
        kernels.as_array(footprints, dtype=wp.vec3),
        THICKNESS,
        *map(kernels.as_array, ctx.parameters),
    ]


def _outputs(tensors: Sequence[Tensor]) -> list[Any]:
    means, factors, opacities, colors = tensors
    return [
        kernels.as_array(means, dtype=wp.vec3),
        kernels.as_array(factors, dtype=wp.mat33),
        kernels.as_array(opacities),
        kernels.as_array(colors, dtype=wp.vec3),
    ]
