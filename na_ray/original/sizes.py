"""Sizes of the vid2vid networks, read off the shapes of their tensors (by our names)."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from na_ray.config.values import UserError


def generator_sizes(state: Mapping[str, Tensor], resolution: tuple[int, int] | None, path: str) -> dict[str, Any]:
    """The generator's knobs of `Vid2vidConfig`, from the state dict of one without spectral norms.

    `resolution` (height, width): needed where the maps are no squares. Raises UserError with one line.
    """
    sizes: dict[str, Any] = {
        "num_filters": _channels(state, "head", 1, path),
        "num_layers": _count(state, "up.#.first") - 1,
        "num_downsamples_img": _count(state, "down.#.first") - 1,
        "embed_downsamples": _count(state, "label_embedder.down.#"),
        "latent_channels": _channels(state, "code", 1, path),
        "flow_filters": _channels(state, "flow.flow_head", 1, path),
        "flow_downsamples": _count(state, "flow.labels.#") - 1,
        "flow_blocks": _count(state, "flow.blocks.#.first"),
        "warp_layers": len({name for name in state if re.fullmatch(r"up\.\d+\.first\.spade\.1\.weight", name)}),
        "warp_downsamples": _count(state, "warp_embedder.down.#"),
        "max_num_filters": max(
            (value.shape[0] for name, value in state.items() if name.endswith("conv.weight") and value.dim()), default=0
        ),
    }
    width = _channels(state, f"up.{sizes['num_layers']}.first.conv", 1, path)
    cells = _channels(state, "code", 0, path) // width
    return sizes | {"resolution": _resolution(cells, sizes["num_layers"], resolution, path)}


def _resolution(cells: int, num_layers: int, given: tuple[int, int] | None, path: str) -> tuple[int, int]:
    """Height and width of the maps, from the number of positions of the learned code."""
    unit = 2**num_layers
    if given is not None:
        if (given[0] // unit) * (given[1] // unit) != cells:
            raise UserError(f"{path}: its maps have {cells * unit**2} pixels; {given[0]}x{given[1]} was asked for")
        return given
    side = math.isqrt(cells)
    if side * side != cells:
        raise UserError(
            f"{path}: its maps have {cells * unit**2} pixels and are no squares: say --resolution HEIGHT WIDTH"
        )
    return side * unit, side * unit


def discriminator_sizes(state: Mapping[str, Tensor], path: str) -> dict[str, Any]:
    """The discriminators' knobs of `Vid2vidConfig`; temporal ones may be absent. Empty without a state."""
    if not state:
        return {}
    scales = _count(state, "temporal.#.0.layers.0.conv")
    sizes: dict[str, Any] = {
        "image_filters": _channels(state, "image.0.layers.0.conv", 0, path),
        "image_scales": _count(state, "image.#.layers.0.conv"),
        "image_layers": _count(state, "image.0.layers.#.conv") - 2,
        "temporal_scales": scales,
        "max_discriminator_filters": max(
            (value.shape[0] for name, value in state.items() if name.endswith("conv.weight") and value.dim()), default=0
        ),
    }
    if scales:
        sizes |= {
            "temporal_filters": _channels(state, "temporal.0.0.layers.0.conv", 0, path),
            "temporal_subscales": _count(state, "temporal.0.#.layers.0.conv"),
            "temporal_layers": _count(state, "temporal.0.0.layers.#.conv") - 2,
        }
    return sizes


def _channels(state: Mapping[str, Tensor], layer: str, axis: int, path: str) -> int:
    weight = state.get(f"{layer}.weight")
    if weight is None or weight.dim() < 2:
        raise UserError(f"{path}: no tensor for '{layer}.weight': the file is not complete")
    return weight.shape[axis]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers in place of `#` begin a name."""
    found = re.compile(re.escape(pattern).replace(r"\#", "([0-9]+)") + r"\.")
    return len({match[1] for name in state if (match := found.match(name))})
