"""Names of our parameters in the original's checkpoints, and back.

`#` stands for a number, the same on both sides. Spectral norm renames a weight: `weight` and its vectors `u` and `v`
are the original's `weight_orig`, `weight_u` and `weight_v`, but in its averaged (folded) generator.
"""

import re

_EMBEDDERS = {"label_embedder": "label_embedding", "warp_embedder": "img_prev_embedding"}
_BLOCKS = {"up.#": "up_#", "down.#": "down_#", "bridge.#": "res_#"}
_PARTS = {"first": "conv_block_0", "second": "conv_block_1", "skip": "conv_block_s"}
_FLOW = {"labels.#": "down_lbl.#", "images.#": "down_img.#", "up.#": "up_flow.#"} | {
    f"blocks.#.{ours}": f"res_flow.#.{theirs}" for ours, theirs in _PARTS.items() if ours != "skip"
}
_SCALES = {
    "image.#.layers.#": "net_D.discriminator_#.layer#.0",
    "temporal.#.#.layers.#": "net_DT#.discriminator_#.layer#.0",
}

SPECTRAL = (
    {f"{ours}.stem": f"{theirs}.conv_first.layers.conv" for ours, theirs in _EMBEDDERS.items()}
    | {f"{e}.{way}.#": f"{theirs}.{way}_#.layers.conv" for e, theirs in _EMBEDDERS.items() for way in ("down", "up")}
    | {f"{b}.{p}.conv": f"{_BLOCKS[b]}.{_PARTS[p]}.layers.conv" for b in _BLOCKS for p in _PARTS}
    | {f"flow.{ours}.conv": f"flow_network_temp.{theirs}.layers.conv" for ours, theirs in _FLOW.items()}
    | {f"{ours}.conv": f"{theirs}.layers.conv" for ours, theirs in _SCALES.items()}
)
"""Layers with spectral norm."""

PLAIN = (
    {"stem": "down_first.layers.conv", "head": "conv_img.layers.conv", "code": "fc.layers.conv"}
    | {"flow.flow_head": "flow_network_temp.conv_flow.0.layers.conv"}
    | {"flow.mask_head": "flow_network_temp.conv_mask.0.layers.conv"}
    | {
        f"{b}.{p}.spade.#": f"{_BLOCKS[b]}.{_PARTS[p]}.layers.norm.mlps.#.0.layers.conv"
        for b in _BLOCKS
        for p in _PARTS
    }
    | {f"flow.{ours}.norm": f"flow_network_temp.{theirs}.layers.norm" for ours, theirs in _FLOW.items()}
    | {f"{ours}.norm": f"{theirs}.layers.norm" for ours, theirs in _SCALES.items()}
)
"""Layers without."""

_LEAVES = {"bias": "bias", "weight": "weight_orig", "u": "weight_u", "v": "weight_v"}


def _rewrite(name: str, pattern: str, into: str) -> str | None:
    """`name` with the shape of `into`, if it has that of `pattern`."""
    match = re.fullmatch(re.escape(pattern).replace(r"\#", "([0-9]+)"), name)
    return None if match is None else into.replace("#", "{}").format(*match.groups())


def to_original(name: str, folded: bool = False) -> str:
    """The original's key for a name of our state dict; `folded`: as in its averaged generator."""
    layer, _, leaf = name.rpartition(".")
    for table in (SPECTRAL, PLAIN):
        for ours, theirs in table.items():
            if (key := _rewrite(layer, ours, theirs)) is not None:
                return f"{key}.{_LEAVES[leaf] if table is SPECTRAL and not folded else leaf}"
    raise AssertionError(f"{name} is no parameter of these networks")


def from_original(key: str) -> str | None:
    """Our name for a key of the original, folded or not; None for one that these networks don't have."""
    layer, _, leaf = key.rpartition(".")
    leaves = {theirs: ours for ours, theirs in _LEAVES.items()} | {"weight": "weight"}
    for table in (SPECTRAL, PLAIN):
        for ours, theirs in table.items():
            if (name := _rewrite(layer, theirs, ours)) is not None:
                known = leaf in leaves if table is SPECTRAL else leaf in ("weight", "bias")
                return f"{name}.{leaves[leaf]}" if known else None
    return None
