"""The original's options in our terms; docs/original.md says the same in prose.

Every option has one of four fates: it is translated, it must have the value that this architecture has, it matters for
further training only (a note), or it does nothing to the numbers (ignored: paths, logging, dead flags).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from na_ray.config import NerfConfig, OptimConfig, parse_indices
from na_ray.config.values import UserError

REQUIRED: dict[str, Any] = {
    "arch": "joint_nerf_coarse",
    "use_local_coordinate": True,
    "use_texture_encoder": True,
    "texture_to_deformation": True,
    "additional_deform": "pos",
    "feature_layers": 6,
    "feature_field_skip_connect": 3,
    "texture_layers": 3,
    "no_layernorm_mlp": True,
    "hierarchical_sampling": False,
    "use_fine_model": False,
    "raymarching_tolerance": 0,
    "background_stop_gradient": True,
    "min_color": -1,
    "total_experts": 0,
    "num_experts": 0,
}
"""Another value would be another network, or another way to composite."""

TRAINING: dict[str, Any] = {
    "L1": False,
    "vgg_weight": 0.0,
    "ssim_weight": 0.0,
    "depth_weight": 0.0,
    "regz_weight": 0.0,
    "eikonal_weight": 0.0,
    "hierarchical_loss": False,
    "no_background_loss": False,
    "weight_decay": 0.0,
    "use_old_adam": False,
    "lr_scheduler": "exp",
    "optimizer": "adam",
    "update_freq": [1],
    "sampling_on_mask": 0.0,
    "sampling_on_bbox": False,
    "sampling_patch_size": 1,
    "fp16": False,
    "bf16": False,
}
"""Another value changes further training, not the pictures of the weights at hand."""

ABSENT_IS_DEFAULT = {"fixed_fine_num_samples", "total_experts", "num_experts", "min_color", *TRAINING}


@dataclass(frozen=True)
class Options:
    """What a checkpoint's options say."""

    nerf: NerfConfig
    optim: OptimConfig
    settings: dict[str, Any]
    notes: tuple[str, ...]


def flag(name: str) -> str:
    """The option as it is written on the command line."""
    return "--" + name.replace("_", "-")


def translate(args: Mapping[str, Any], where: str) -> Options:
    """Our configuration from the `args` of a checkpoint.

    Raises UserError, one line, naming the flag and its value, for an option that is missing or describes something
    that our networks do not compute. Paths are ignored: they are those of another machine.
    """
    for name, expected in REQUIRED.items():
        found = args.get(name, expected) if name in ABSENT_IS_DEFAULT else _get(args, name, where)
        if found != expected:
            raise _refuse(where, name, found, f"only {expected!r} is known here")
    notes = tuple(
        f"{flag(name)} {args[name]!r} has no counterpart here: further training goes without it"
        for name, usual in TRAINING.items()
        if name in args and args[name] != usual
    )
    return Options(_nerf(args, where), _optim(args, where), _settings(args, where), notes)


def _refuse(where: str, name: str, value: Any, expected: str) -> UserError:
    return UserError(f"{where}: {flag(name)} is {value!r}: {expected}; this checkpoint cannot be imported")


def _get(args: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in args:
        raise UserError(f"{where}: the options have no {flag(name)}: not a checkpoint of joint_nerf_coarse")
    return args[name]


def _int(args: Mapping[str, Any], name: str, where: str) -> int:
    value = _get(args, name, where)
    if not isinstance(value, (int, float)) or value != int(value):
        raise _refuse(where, name, value, "expected a whole number")
    return int(value)


def _float(args: Mapping[str, Any], name: str, where: str) -> float:
    value = _get(args, name, where)
    if not isinstance(value, (int, float)):
        raise _refuse(where, name, value, "expected a number")
    return float(value)


def _match(args: Mapping[str, Any], name: str, pattern: str, where: str) -> tuple[int, ...]:
    value = _get(args, name, where)
    found = re.fullmatch(pattern, str(value))
    if not found:
        raise _refuse(where, name, value, f"expected the form {pattern!r}")
    return tuple(int(number) for number in found.groups())


def _floats(args: Mapping[str, Any], name: str, count: int, where: str) -> tuple[float, ...]:
    value = _get(args, name, where)
    try:
        numbers = tuple(float(part) for part in str(value).strip("()[] ").split(","))
    except ValueError:
        raise _refuse(where, name, value, f"expected {count} numbers") from None
    if len(numbers) != count:
        raise _refuse(where, name, value, f"expected {count} numbers")
    return numbers


def _nerf(args: Mapping[str, Any], where: str) -> NerfConfig:
    hidden = _int(args, "feature_embed_dim", where)
    for name, expected in (("texture_embed_dim", hidden), ("density_embed_dim", hidden // 2)):
        if _get(args, name, where) != expected:
            raise _refuse(where, name, args[name], f"only {expected} goes with --feature-embed-dim {hidden}")
    (position,) = _match(args, "inputs_to_density", r"pos:(\d+):3", where)
    color = r"feat:0:(\d+),attnout:0:(\d+),texture:0:(\d+),ray:(\d+):3:b"
    *widths, direction = _match(args, "inputs_to_texture", color, where)
    if widths != [hidden, hidden, 512]:
        raise _refuse(where, "inputs_to_texture", args["inputs_to_texture"], f"expected widths {hidden}, {hidden}, 512")
    return NerfConfig(
        samples_per_ray=_int(args, "fixed_num_samples", where),
        shell_radius=_float(args, "min_dis_eps", where),
        hidden=hidden,
        local_frequencies=_int(args, "joint_filter_size", where),
        position_frequencies=position,
        direction_frequencies=direction,
        density_noise=_float(args, "discrete_regularization", where),
        parity=True,
    )


def _optim(args: Mapping[str, Any], where: str) -> OptimConfig:
    # The alpha loss never acts there, whatever its weight; background_depth is 5.0 there, whatever it says.
    return OptimConfig(
        lr=_floats(args, "lr", 1, where)[0],
        betas=_floats(args, "adam_betas", 2, where),  # type: ignore[arg-type]
        eps=_float(args, "adam_eps", where),
        decay_rate=_float(args, "decay_rate", where),
        decay_steps=_int(args, "decay_steps", where),
        color_weight=_float(args, "color_weight", where),
        clip_norm=_float(args, "clip_norm", where),
    )


def _settings(args: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the options say about data and training, as far as they are there and usable."""
    settings: dict[str, Any] = {"data.background": _floats(args, "transparent_background", 3, where)}
    for name, ours in (("train_views", "data.train_views"), ("valid_views", "data.validation_views")):
        if name in args:
            try:
                parse_indices(str(args[name]))
            except UserError as error:
                raise _refuse(where, name, args[name], str(error)) from None
            settings[ours] = args[name]
    for name, ours in (
        ("seed", "train.seed"),
        ("max_update", "train.steps"),
        ("view_per_batch", "data.views_per_frame"),
    ):
        if name in args:
            settings[ours] = _int(args, name, where)
    if "pixel_per_view" in args:
        settings["data.rays_per_view"] = int(args["pixel_per_view"])
    if "view_resolution" in args:
        settings["data.resolution"] = _match(args, "view_resolution", r"(\d+)x(\d+)", where)
    return settings
