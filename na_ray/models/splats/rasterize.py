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
from na_ray.models.splats import project_kernels, scan_kernels, scan_native, tile_back_kernels, tile_kernels
from na_ray.models.splats.views import Views

DrawnBy = Literal["scan", "tiles"]
"""How pictures are drawn: a Gaussian after the other, which a CPU alone can, or by tiles of pixels in parallel."""
PAIR, PAIR_TYPES = ((2,), (3,), (3,), ()), (wp.vec2, wp.vec3, wp.vec3, wp.float32)
"""What has gradients in a picture: an ellipse's center, conic and shade, and the opacity."""


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

    Differentiable in everything but the views and depths. `path`: None for the device's own, and for tiles where the
    views have a room for pairs. Raises ValueError for "scan" on a GPU: its kernels draw with a CPU's vectors.
    """
    g = gaussians
    if path == "scan" and g.means.device.type != "cpu":
        raise ValueError(f"path is 'scan', which is for CPUs, and the Gaussians lie on {g.means.device}")
    path = path or ("scan" if g.means.device.type == "cpu" and views.room is None else "tiles")
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
            kernels.as_array(self.centers, dtype=wp.vec2),
            kernels.as_array(self.conics, dtype=wp.vec3),
            kernels.as_array(self.shades, dtype=wp.vec3),
            kernels.as_array(self.depths),
            kernels.as_array(self.reaches, dtype=wp.vec2),
        ]


def _gaussian_arrays(tensors: Sequence[Tensor]) -> list[Any]:
    means, factors, opacities, colors, frames, changes = tensors
    return [
        kernels.as_array(means, dtype=wp.vec3),
        kernels.as_array(factors, dtype=wp.mat33),
        kernels.as_array(opacities),
        kernels.as_array(colors, dtype=wp.vec3),
        kernels.as_array(frames, dtype=wp.mat33),
        kernels.as_array(changes),
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
            inputs = [*_gaussian_arrays(tensors), kernels.as_array(views.numbers), blur]
            wp.launch(project_kernels.project, (k, n), inputs, ellipses.arrays, device=name)
            pictures = [colors, passing, far, last, touched]
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
        pairs = [torch.zeros(k, n, *last, device=device) for last in PAIR]
        found = [torch.zeros_like(t) for t in tensors]
        with kernels.on_device(device) as name:
            flat = [kernels.as_array(pair, dtype=dtype) for pair, dtype in zip(pairs, PAIR_TYPES, strict=True)]
            back = _scan_back if ctx.path == "scan" else _tiles_back
            held = [passing.clone(), passing * grad_passing, grad_colors.contiguous()]
            back(ctx.order, ellipses, views, tensors[2], (last, touched), held, flat, name)
            means, factors, _, _, frames, changes = _gaussian_arrays(tensors)
            g_means, g_factors, g_opacities, g_colors, g_frames, g_changes = _gaussian_arrays(found)
            seen = [kernels.as_array(views.numbers), kernels.as_array(touched)]
            inputs = [means, factors, *seen, ellipses.arrays[1], flat[0], flat[1], flat[3]]
            wp.launch(project_kernels.project_back, n, inputs, [g_means, g_factors, g_opacities], device=name)
            inputs = [means, frames, changes, *seen, flat[2]]
            wp.launch(project_kernels.shade_back, n, inputs, [g_means, g_colors, g_frames, g_changes], device=name)
        return *found, None, None, None, None


def _scan(e: _Ellipses, views: Views, opacities: Tensor, depth: bool, pictures: list[Tensor], name: str) -> Tensor:
    """Draw nearest first; returns the order."""
    order = _nearest_first(e.depths)
    *shown, touched = pictures
    planes = [_plane(picture) for picture in (shown[0].permute(3, 0, 1, 2), *shown[1:])]
    inputs = [kernels.as_array(order), kernels.as_array(views.windows), *e.arrays, kernels.as_array(opacities)]
    outputs = [*map(kernels.as_array, planes), kernels.as_array(touched)]
    wp.launch(scan_kernels.draw_in_order, len(views), [*inputs, *views.size, depth], outputs, device=name)
    shown[0].copy_(planes[0].T[: shown[1].numel()].view_as(shown[0]))
    for picture, plane in zip(shown[1:], planes[1:], strict=True):
        picture.copy_(plane[: picture.numel()].view_as(picture))
    return order


def _plane(picture: Tensor) -> Tensor:
    """Pixels in one row a color, (p) or (3, p), with room behind them for reading a few at once."""
    return torch.nn.functional.pad(picture.flatten(-3), (0, scan_native.LANES))


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
    inputs = [kernels.as_array(order), kernels.as_array(views.windows), centers, conics, shades, reaches]
    inputs += [kernels.as_array(opacities), *views.size]
    planes = [_plane(part) for part in (marks[0], colors.permute(3, 0, 1, 2), passing, behind)]
    last, *others = map(kernels.as_array, planes)
    inputs += [last, kernels.as_array(marks[1]), *others]
    wp.launch(scan_kernels.draw_in_order_back, len(views), inputs, grads, device=name)


@dataclass(frozen=True)
class _Pairs:
    """Gaussians by tile and depth."""

    starts: Int[Tensor, "t"]
    """Where each tile's begin, and one end more."""
    owners: Int[Tensor, "p"]
    keys: Int[Tensor, "p"]
    """The tile of each, in the upper 32 bits."""
    slots: Int[Tensor, "p"]
    """Where each was written before they were sorted: there, a Gaussian's lie side by side."""
    counts: Int[Tensor, "k n"]
    ends: Int[Tensor, "k n"]
    """How many are a Gaussian's, and where they end."""


def _tiles(e: _Ellipses, views: Views, opacities: Tensor, depth: bool, pictures: list[Tensor], name: str) -> _Pairs:
    """Draw all pixels at once; returns the pairs."""
    pairs = _pairs(e, views, opacities, name)
    if views.room is not None:
        views.room.most.copy_(torch.maximum(views.room.most, pairs.ends[-1, -1]))
    inputs = [kernels.as_array(views.windows), views.tiles, *map(kernels.as_array, (pairs.starts, pairs.owners))]
    inputs += [*e.arrays[:4], kernels.as_array(opacities), depth]
    outputs = [kernels.as_array(pictures[0], dtype=wp.vec3), *map(kernels.as_array, pictures[1:])]
    size = (len(views), views.tiles, tile_kernels.TILE**2)
    wp.launch(tile_kernels.draw_tiles, size, inputs, outputs, device=name)
    return pairs


def _pairs(e: _Ellipses, views: Views, opacities: Tensor, name: str) -> _Pairs:
    device = opacities.device
    k, n = e.depths.shape
    counts = torch.zeros(k, n, dtype=torch.int64, device=device)
    centers, conics, _, depths, reaches = e.arrays
    nothing = torch.zeros(1, dtype=torch.int64, device=device), torch.zeros(1, dtype=torch.int32, device=device)

    def launch(ends: Tensor, write: bool, keys: Tensor, owners: Tensor) -> None:
        inputs = [kernels.as_array(views.windows), centers, conics, reaches, kernels.as_array(opacities)]
        inputs += [kernels.as_array(ends), depths, views.tiles, write]
        outputs = [kernels.as_array(counts), kernels.as_array(keys), kernels.as_array(owners)]
        wp.launch(tile_kernels.count_pairs, (k, n), inputs, outputs, device=name)

    launch(counts, False, *nothing)
    ends = counts.view(-1).cumsum(0).view(k, n)
    capacity = max(1, views.room.capacity if views.room is not None else int(ends[-1, -1]))
    keys = torch.full((capacity,), 2**62, dtype=torch.int64, device=device)
    owners = torch.zeros(capacity, dtype=torch.int32, device=device)
    launch(ends, True, keys, owners)
    keys, order = keys.sort(stable=True)
    edges = torch.arange(k * views.tiles + 1, device=device) << 32
    return _Pairs(torch.searchsorted(keys, edges), owners[order], keys, order, counts, ends)


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
    same = torch.are_deterministic_algorithms_enabled()
    count, pixels = len(pairs.owners), tile_kernels.TILE**2
    light = kernels.as_array(torch.zeros((count, pixels, 2) if same else (1, 1, 2), device=colors.device))
    tiles = [kernels.as_array(views.windows), views.tiles]
    ellipses = [centers, conics, shades, kernels.as_array(opacities)]
    given = kernels.as_array(colors, dtype=wp.vec3)
    inputs = [*tiles, kernels.as_array(pairs.starts), kernels.as_array(pairs.owners), *ellipses]
    inputs += [*map(kernels.as_array, (marks[0], passing, behind)), given, same]
    size = (len(views), views.tiles, pixels)
    wp.launch(tile_back_kernels.draw_tiles_back, size, inputs, [light, *grads], device=name)
    if same:
        parts = [torch.zeros(count, *last, device=colors.device) for last in PAIR]
        of_pairs = [kernels.as_array(part, dtype=dtype) for part, dtype in zip(parts, PAIR_TYPES, strict=True)]
        inputs = [*tiles, *map(kernels.as_array, (pairs.keys, pairs.owners, pairs.slots)), *ellipses, given, light]
        wp.launch(tile_back_kernels.add_pixels, count, inputs, of_pairs, device=name)
        inputs = [kernels.as_array(pairs.counts), kernels.as_array(pairs.ends), *of_pairs]
        wp.launch(tile_back_kernels.add_pairs, pairs.counts.shape, inputs, grads, device=name)
