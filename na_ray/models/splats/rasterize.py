"""Pictures of 3D Gaussians and their gradients: float32, by Warp kernels, the same source on CPU and CUDA.

Gaussians are projected to ellipses, sorted by depth and composited front to back: c = sum_i T_i a_i c_i with
a_i = o_i exp(-q_i / 2), at most 0.995 and nothing below 1/255, T_i the light that passes those before, until less than
1/1000 of it does (Kerbl et al. 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from na_ray.body import kernels
from na_ray.models.gaussians import Gaussians
from na_ray.models.splats import project_kernels, scan_kernels, tile_kernels
from na_ray.models.splats.views import Views

DrawnBy = Literal["scan", "tiles"]
"""How pictures are drawn: a Gaussian after the other, or by tiles of pixels in parallel."""


@dataclass(frozen=True)
class SplatDrawing:
    """k pictures; what lies outside a view's window is empty."""

    colors: Float[Tensor, "k h w 3"]
    """Over black."""
    transmittance: Float[Tensor, "k h w"]
    """The light that passes: 1 - alpha."""
    depth: Float[Tensor, "k h w"] | None
    """Sum of the depths along the optical axis (m) times what each Gaussian adds; None where not asked for."""


def draw(
    gaussians: Gaussians, views: Views, blur: float, depth: bool = False, path: DrawnBy | None = None
) -> SplatDrawing:
    """Draw Gaussians through some views. `blur`: variance (px^2) that a pixel's filter adds.

    Differentiable in everything but the views and depths. `path`: None for the device's own.
    """
    g = gaussians
    path = path or ("tiles" if g.means.device.type == "cuda" else "scan")
    tensors = (g.means, g.factors, g.opacities, g.colors, g.frames, g.changes)
    colors, transmittance, far = _Draw.apply(*tensors, views, blur, depth, path)
    return SplatDrawing(colors, transmittance, far if depth else None)


class _Ellipses:
    """What `project` writes."""

    def __init__(self, k: int, n: int, device: torch.device) -> None:
        def empty(*last: int) -> Tensor:
            return torch.zeros(k, n, *last, device=device)

        self.centers, self.conics, self.shades = empty(2), empty(3), empty(3)
        self.depths, self.reaches = empty(), empty(2)

    @property
    def arrays(self) -> list[Any]:
        """As Warp's arrays, in the kernel's order."""
        return [
            wp.from_torch(self.centers, dtype=wp.vec2),
            wp.from_torch(self.conics, dtype=wp.vec3),
            wp.from_torch(self.shades, dtype=wp.vec3),
            wp.from_torch(self.depths),
            wp.from_torch(self.reaches, dtype=wp.vec2),
        ]


def _gaussian_arrays(tensors: Sequence[Tensor]) -> list[Any]:
    means, factors, opacities, colors, frames, changes = tensors
    return [
        wp.from_torch(means, dtype=wp.vec3),
        wp.from_torch(factors, dtype=wp.mat33),
        wp.from_torch(opacities),
        wp.from_torch(colors, dtype=wp.vec3),
        wp.from_torch(frames, dtype=wp.mat33),
        wp.from_torch(changes),
    ]


class _Draw(torch.autograd.Function):
    """`draw` for autograd."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        *tensors, views, blur, with_depth, path = arguments
        tensors = [t.detach().contiguous() for t in tensors]
        device, k, n = tensors[0].device, len(views), len(tensors[0])
        ellipses = _Ellipses(k, n, device)
        height, width = views.size
        colors = torch.zeros(k, height, width, 3, device=device)
        passing = torch.ones(k, height, width, device=device)
        far = torch.zeros(k, height, width, device=device) if with_depth else torch.zeros(1, 1, 1, device=device)
        last = torch.full((k, height, width), -1, dtype=torch.int32, device=device)
        touched = torch.zeros(k, n, dtype=torch.int32, device=device)
        with kernels.on_device(device) as name:
            inputs = [*_gaussian_arrays(tensors), wp.from_torch(views.numbers), blur]
            wp.launch(project_kernels.project, (k, n), inputs, ellipses.arrays, device=name)
            pictures = [
                wp.from_torch(colors, dtype=wp.vec3),
                *map(wp.from_torch, (passing, far, last, touched)),
            ]
            drawer = _scan if path == "scan" else _tiles
            ctx.order = drawer(ellipses, views, tensors[2], with_depth, pictures, name)
        # An alias: what is returned will refer to this node, which must not refer to it.
        ctx.saved, ctx.ellipses, ctx.pictures = tensors, ellipses, (passing.detach(), last, touched)
        ctx.views, ctx.blur, ctx.path = views, blur, path
        ctx.mark_non_differentiable(far)
        return colors, passing, far

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_colors: Tensor, grad_passing: Tensor, _: Tensor) -> tuple[Any, ...]:
        tensors, ellipses, views = ctx.saved, ctx.ellipses, ctx.views
        passing, last, touched = ctx.pictures
        device, k, n = tensors[0].device, len(views), len(tensors[0])
        pairs = [torch.zeros(k, n, *last, device=device) for last in ((2,), (3,), (3,), ())]
        found = [torch.zeros_like(t) for t in tensors]
        with kernels.on_device(device) as name:
            flat = [
                wp.from_torch(pairs[0], dtype=wp.vec2),
                wp.from_torch(pairs[1], dtype=wp.vec3),
                wp.from_torch(pairs[2], dtype=wp.vec3),
                wp.from_torch(pairs[3]),
            ]
            back = _scan_back if ctx.path == "scan" else _tiles_back
            held = [passing.clone(), passing * grad_passing, grad_colors.contiguous()]
            back(ctx.order, ellipses, views, tensors[2], (last, touched), held, flat, name)
            means, factors, _, _, frames, changes = _gaussian_arrays(tensors)
            g_means, g_factors, g_opacities, g_colors, g_frames, g_changes = _gaussian_arrays(found)
            seen = [wp.from_torch(views.numbers), wp.from_torch(touched)]
            inputs = [means, factors, *seen, ellipses.arrays[1], flat[0], flat[1], flat[3]]
            wp.launch(project_kernels.project_back, n, inputs, [g_means, g_factors, g_opacities], device=name)
            inputs = [means, frames, changes, *seen, flat[2]]
            wp.launch(project_kernels.shade_back, n, inputs, [g_means, g_colors, g_frames, g_changes], device=name)
        return *found, None, None, None, None


def _scan(e: _Ellipses, views: Views, opacities: Tensor, depth: bool, pictures: list[Any], name: str) -> Tensor:
    """Draw nearest first; returns the order."""
    order = _nearest_first(e.depths)
    inputs = [wp.from_torch(order), wp.from_torch(views.windows), *e.arrays, wp.from_torch(opacities)]
    outputs = [*(picture.flatten() for picture in pictures[:4]), pictures[4]]
    wp.launch(scan_kernels.draw_in_order, len(views), [*inputs, *views.size, depth], outputs, device=name)
    return order


def _nearest_first(depths: Float[Tensor, "k n"]) -> Int[Tensor, "k n"]:
    """Stable order of positive depths. NumPy sorts 16 bits by radix, and positive floats are ordered as their bits:
    the low half first, then the high half, is four times as fast as torch's sort on a CPU."""
    if depths.device.type != "cpu":
        return depths.argsort(dim=1, stable=True)
    bits = depths.numpy().view(np.uint32)
    order = np.argsort((bits & 0xFFFF).astype(np.uint16), axis=1, kind="stable")
    high = np.take_along_axis((bits >> 16).astype(np.uint16), order, 1)
    order = np.take_along_axis(order, np.argsort(high, axis=1, kind="stable"), 1)
    return torch.from_numpy(order)


def _scan_back(
    order: Tensor,
    e: _Ellipses,
    views: Views,
    opacities: Tensor,
    marks: tuple[Tensor, Tensor],
    held: list[Tensor],
    grads: list[Any],
    name: str,
) -> None:
    centers, conics, shades, _, reaches = e.arrays
    passing, behind, colors = held
    inputs = [wp.from_torch(order), wp.from_torch(views.windows), centers, conics, shades, reaches]
    inputs += [wp.from_torch(opacities), *views.size]
    inputs += [wp.from_torch(marks[0].view(-1)), wp.from_torch(marks[1])]
    inputs += [wp.from_torch(passing.view(-1)), wp.from_torch(behind.view(-1))]
    inputs.append(wp.from_torch(colors.view(-1, 3), dtype=wp.vec3))
    wp.launch(scan_kernels.draw_in_order_back, len(views), inputs, grads, device=name)


@dataclass(frozen=True)
class _Pairs:
    """Gaussians by tile and depth."""

    starts: Int[Tensor, "t"]
    """Where each tile's begin, and one end more."""
    owners: Int[Tensor, "p"]


def _tiles(e: _Ellipses, views: Views, opacities: Tensor, depth: bool, pictures: list[Any], name: str) -> _Pairs:
    """Draw all pixels at once; returns the pairs."""
    pairs = _pairs(e, views, opacities, name)
    inputs = [wp.from_torch(views.windows), views.tiles, wp.from_torch(pairs.starts), wp.from_torch(pairs.owners)]
    inputs += [*e.arrays[:4], wp.from_torch(opacities), depth]
    size = (len(views), views.tiles, tile_kernels.TILE**2)
    wp.launch(tile_kernels.draw_tiles, size, inputs, pictures, device=name)
    return pairs


def _pairs(e: _Ellipses, views: Views, opacities: Tensor, name: str) -> _Pairs:
    device = opacities.device
    k, n = e.depths.shape
    counts = torch.zeros(k, n, dtype=torch.int64, device=device)
    centers, conics, _, depths, reaches = e.arrays
    nothing = torch.zeros(1, dtype=torch.int64, device=device), torch.zeros(1, dtype=torch.int32, device=device)

    def launch(ends: Tensor, write: bool, keys: Tensor, owners: Tensor) -> None:
        inputs = [wp.from_torch(views.windows), centers, conics, reaches, wp.from_torch(opacities)]
        inputs += [wp.from_torch(ends), depths, views.tiles, write]
        outputs = [wp.from_torch(counts), wp.from_torch(keys), wp.from_torch(owners)]
        wp.launch(tile_kernels.count_pairs, (k, n), inputs, outputs, device=name)

    launch(counts, False, *nothing)
    ends = counts.view(-1).cumsum(0).view(k, n)
    capacity = max(1, int(ends[-1, -1]))
    keys = torch.full((capacity,), 2**62, dtype=torch.int64, device=device)
    owners = torch.zeros(capacity, dtype=torch.int32, device=device)
    launch(ends, True, keys, owners)
    keys, order = keys.sort(stable=True)
    edges = torch.arange(k * views.tiles + 1, device=device) << 32
    return _Pairs(torch.searchsorted(keys, edges), owners[order])


def _tiles_back(
    pairs: _Pairs,
    e: _Ellipses,
    views: Views,
    opacities: Tensor,
    marks: tuple[Tensor, Tensor],
    held: list[Tensor],
    grads: list[Any],
    name: str,
) -> None:
    centers, conics, shades, _, _ = e.arrays
    passing, behind, colors = held
    inputs = [wp.from_torch(views.windows), views.tiles, wp.from_torch(pairs.starts), wp.from_torch(pairs.owners)]
    inputs += [centers, conics, shades, *map(wp.from_torch, (opacities, marks[0], passing, behind))]
    inputs.append(wp.from_torch(colors, dtype=wp.vec3))
    size = (len(views), views.tiles, tile_kernels.TILE**2)
    wp.launch(tile_kernels.draw_tiles_back, size, inputs, grads, device=name)
