"""Checkpoints of the original implementation, turned into ours: strict by name, shape and type.

Such a file is a pickle with `args` (the options), `model` (weights, and the rig), `optimizer_history`,
`last_optimizer_state` and more (docs/original.md). It is read by an allow-list: tensors, plain containers and
`argparse.Namespace`, nothing else. What became of each option is in `na_ray.original.options`.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from na_ray.body.body import Body
from na_ray.capture.rig import Rig
from na_ray.config import NerfConfig, OptimConfig
from na_ray.config.values import UserError
from na_ray.models.nerf.renderer import Nerf
from na_ray.original.options import translate

MODULES = {
    "encoder.texture_encoder.model.": "encoder.",
    "encoder.joint_filter.emb": "field.surface_encoding.frequencies",
    "field.den_filters.pos.emb": "field.position_encoding.frequencies",
    "field.tex_filters.ray.emb": "field.direction_encoding.frequencies",
    "encoder.skinning_deform.net.0.net.0.": "field.deformation.hidden.",
    "encoder.skinning_deform.net.1.": "field.deformation.residual.",
    **{f"encoder.merge_joint_field.net.{i}.net.0.": f"field.surface.{i}." for i in range(4)},
    **{f"field.feature_field.net.{i}.net.0.": f"field.shape.{i}." for i in range(8)},
    "field.predictor.hidden_layer.net.0.": "field.density_hidden.",
    "field.predictor.output_layer.": "field.density.",
    "field.renderer.net.0.net.0.": "field.color_input.",
    **{f"field.renderer.net.{i}.net.0.": f"field.color.{i - 1}." for i in range(1, 4)},
    "field.renderer.net.4.": "field.color.3.",
}
"""Beginnings of names: the original's, ours."""

RIG = ("encoder.vertices", "encoder.faces", "encoder.weights", "encoder.face_uv")
BACKGROUND = "field.bg_color.bg_color"
NEVER_RUN = "encoder.texture_encoder.model.layer4."
"""The last stage of the ResNet is in the file, and never executed."""

TOLERANCE = 1e-5
"""Largest difference (m, or weight, or UV) between the rig in the file and the capture's."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint of the original, in our terms."""

    nerf: NerfConfig
    """`parity` is on: the weights were trained with the original's numbers."""
    optim: OptimConfig
    state: dict[str, Tensor]
    """State dict of our `Nerf`."""
    rig: Rig
    num_updates: int
    """Finished updates: the step to continue from."""
    adam: dict[str, Any] | None
    """State dict for `optim.adam(nerf.parameters(), optim, parity=True)`; None when the file has none."""
    settings: dict[str, Any]
    """Dotted names and values of what the options say about data and training: for `config.override`."""
    notes: tuple[str, ...]
    """One line for each option that has no counterpart here and would matter if training went on."""


def import_checkpoint(path: str, rig: Rig | None = None, tpose: Float32[np.ndarray, "j 4 4"] | None = None) -> Imported:
    """Read a checkpoint of the original.

    `rig`: the capture's; it must be the one in the file. Without it `tpose` (joint first; `rig.read_tpose`) is needed,
    which the file lacks. Raises UserError (FileNotFoundError) with one line: not such a file, an option that would
    change the mathematics, a tensor that is missing, unknown or of another shape or type, another rig.
    """
    return from_contents(read_file(path), path, rig, tpose)


def from_contents(
    checkpoint: Mapping[str, Any], path: str, rig: Rig | None = None, tpose: Float32[np.ndarray, "j 4 4"] | None = None
) -> Imported:
    """The same from what `read_file` gave for `path`."""
    _check_contents(checkpoint, path)
    options = translate(vars(checkpoint["args"]), path)
    model = checkpoint["model"]
    rig = _rig(model, rig, tpose, path)
    _check_background(model, options.settings["data.background"], path)
    with torch.random.fork_rng(devices=[]):
        nerf = Nerf(options.nerf, Body.from_rig(rig))
    state = _translate_state(model, nerf.state_dict(), path)
    num_updates = _num_updates(checkpoint, path)
    return Imported(
        nerf=options.nerf,
        optim=options.optim,
        state=state,
        rig=rig,
        num_updates=num_updates,
        adam=_translate_adam(checkpoint, nerf, options.optim, num_updates, path),
        settings=options.settings,
        notes=options.notes,
    )


def our_name(name: str) -> str | None:
    """Our name of a tensor of the original's model; None for what has no place here."""
    for theirs, ours in MODULES.items():
        if name.startswith(theirs) and not name.startswith(NEVER_RUN):
            return ours + name[len(theirs) :]
    return None


def read_file(path: str) -> Mapping[str, Any]:
    """What a checkpoint of the original holds, of either stage: a dict of tensors, containers and `Namespace`.

    Raises FileNotFoundError or UserError with one line for what is no such file, or holds anything else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a checkpoint of the original implementation")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = next((line.strip() for line in str(error).splitlines() if "GLOBAL" in line or "global" in line), "")
        reason = reason or (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: refused: {reason[:200]} (tensors, containers and Namespace only)") from None
    if not isinstance(checkpoint, Mapping):
        raise UserError(f"{path}: holds a {type(checkpoint).__name__}; expected the original's checkpoint, a dict")
    return checkpoint


def _check_contents(checkpoint: Mapping[str, Any], path: str) -> None:
    for key, kind in (("args", argparse.Namespace), ("model", Mapping)):
        if not isinstance(checkpoint.get(key), kind):
            has = ", ".join(map(str, checkpoint)) or "nothing"
            raise UserError(
                f"{path}: no {key!r} of type {kind.__name__}; expected the original's checkpoint, found {has}"
            )


def _rig(model: Mapping[str, Tensor], rig: Rig | None, tpose: Float32[np.ndarray, "j 4 4"] | None, path: str) -> Rig:
    """The capture's rig, once it is seen to be the file's; or the file's."""
    missing = [name for name in RIG if name not in model]
    if missing:
        raise UserError(f"{path}: no tensor {missing[0]!r}; expected the rig among the model's buffers")
    vertices, faces, weights, face_uv = (model[name].numpy() for name in RIG)
    if rig is None:
        if tpose is None:
            raise UserError(f"{path}: the rest pose is not in the file: give the capture, or its transform_tpose.json")
        uv_faces = np.arange(3 * len(faces)).reshape(-1, 3)
        return Rig(vertices, faces, face_uv.reshape(-1, 2), uv_faces, weights, tpose)
    pairs = (vertices, rig.vertices), (faces, rig.faces), (weights, rig.weights), (face_uv, rig.uv[rig.uv_faces])
    for name, (theirs, ours) in zip(RIG, pairs, strict=True):
        what = f"{path}: {name} is not the capture's"
        if theirs.shape != ours.shape:
            raise UserError(
                f"{what}: shape {theirs.shape}, the capture has {ours.shape}: give the capture it was trained on"
            )
        if (difference := float(np.abs(theirs.astype(np.float64) - ours).max())) > TOLERANCE:
            raise UserError(f"{what}: they differ by up to {difference:.3g}: give the capture it was trained on")
    return rig


def _check_background(model: Mapping[str, Tensor], background: tuple[float, ...], path: str) -> None:
    if BACKGROUND not in model or not np.allclose(model[BACKGROUND].numpy(), background):
        found = model[BACKGROUND].tolist() if BACKGROUND in model else "no background"
        raise UserError(f"{path}: {BACKGROUND} is {found}; expected {background}, as --transparent-background says")


def _translate_state(model: Mapping[str, Tensor], own: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Our state dict from theirs: a bijection but for the rig, the background and what is never run."""
    state: dict[str, Tensor] = {}
    for name, value in model.items():
        if name in RIG or name == BACKGROUND or name.startswith(NEVER_RUN):
            continue
        ours = our_name(name)
        if ours is None or ours not in own:
            raise UserError(f"{path}: unknown tensor {name!r} {tuple(value.shape)}: not this architecture")
        expected = own[ours]
        if value.shape != expected.shape or value.dtype != expected.dtype:
            found = f"{tuple(value.shape)} {value.dtype}, expected {tuple(expected.shape)} {expected.dtype}"
            raise UserError(f"{path}: {name!r} is {found}: not what the options in the file describe")
        state[ours] = value
    if missing := sorted(set(own) - set(state)):
        raise UserError(f"{path}: no tensor for {missing[0]!r}: the file is not complete")
    return state


def _num_updates(checkpoint: Mapping[str, Any], path: str) -> int:
    history = checkpoint.get("optimizer_history")
    if not history or not isinstance(history[-1], Mapping) or not isinstance(history[-1].get("num_updates"), int):
        raise UserError(f"{path}: optimizer_history does not end with a number of updates: the file is not complete")
    return history[-1]["num_updates"]


def _translate_adam(
    checkpoint: Mapping[str, Any], nerf: Nerf, config: OptimConfig, num_updates: int, path: str
) -> dict[str, Any] | None:
    """Adam's moments under our parameters' indices. Theirs go by the order of the trainable tensors in the model."""
    given = checkpoint.get("last_optimizer_state")
    if not given:
        return None
    parameters = {name: i for i, (name, _) in enumerate(nerf.named_parameters())}
    shapes = {name: p.shape for name, p in nerf.named_parameters()}
    buffers = ("running_mean", "running_var", "num_batches_tracked", ".emb")
    trained = [n for n in checkpoint["model"] if n not in RIG and n != BACKGROUND and not n.endswith(buffers)]
    state = {}
    for index, name in enumerate(trained):
        ours = our_name(name)
        if ours is None:
            continue
        moments = given["state"].get(index)
        if moments is None or any(moments[m].shape != shapes[ours] for m in ("exp_avg", "exp_avg_sq")):
            raise UserError(f"{path}: the optimizer's state {index} does not fit {name!r}: the file is not complete")
        state[parameters[ours]] = {
            "step": torch.tensor(float(moments["step"])),
            "exp_avg": moments["exp_avg"].float(),
            "exp_avg_sq": moments["exp_avg_sq"].float(),
        }
    group = {"lr": config.lr, "betas": config.betas, "eps": config.eps, "params": sorted(state)}
    return {"state": dict(sorted(state.items())), "param_groups": [group]}
