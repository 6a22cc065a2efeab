"""Checkpoints of the original's texture predictor (vid2vid), turned into ours: strict by name, shape and type.

Such a file is a pickle with `net_G` (the generator and its average), `net_D`, `opt_G`, `opt_D`, `current_epoch` and
`current_iteration` (docs/original.md). It is read by an allow-list (`original.read_file`). The sizes of the networks
follow from the shapes of their tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from na_ray.config import TextureConfig, Vid2vidConfig
from na_ray.config.values import UserError
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.original.names import from_original
from na_ray.original.renderer import read_file
from na_ray.original.sizes import discriminator_sizes, generator_sizes

GENERATOR, AVERAGE, DISCRIMINATOR = "module.module.", "module.averaged_model.", "module."
"""Beginnings of the original's names."""

UPDATES = "module.num_updates_tracked"
TRAINING = ("net_D", "opt_G", "opt_D")
"""What the file needs, beside the generator, for training to go on."""


@dataclass(frozen=True)
class ImportedPredictor:
    """A checkpoint of the original's texture predictor, in our terms."""

    vid2vid: Vid2vidConfig
    texture: TextureConfig
    """`parity` is on, and Adam counts steps as the original's did."""
    weights: dict[str, Tensor]
    """State dict of the averaged `Generator(vid2vid, spectral=False)`."""
    training: dict[str, Any] | None
    """What the texture stage needs to go on; None when the file lacks it."""
    num_updates: int
    """Finished windows: the step to continue from."""
    notes: tuple[str, ...]
    """One line for each thing that was left out or taken for granted."""


def is_predictor(contents: Mapping[str, Any]) -> bool:
    """Does a file of the original hold the texture predictor (rather than the NeRF)?"""
    return "net_G" in contents and "model" not in contents


def import_predictor(path: str, resolution: tuple[int, int] | None = None) -> ImportedPredictor:
    """Read a checkpoint of the original's texture predictor.

    `resolution` (height, width) of the maps is needed where they are no squares: the file gives their area alone.
    Raises UserError (FileNotFoundError) with one line: not such a file, a tensor that is missing, unknown or of
    another shape or type, sizes that no network of ours has.
    """
    return from_contents(read_file(path), path, resolution)


def from_contents(
    contents: Mapping[str, Any], path: str, resolution: tuple[int, int] | None = None
) -> ImportedPredictor:
    """The same from what `original.read_file` gave for `path`."""
    networks = _part(contents, "net_G", path)
    weights = _renamed(networks, AVERAGE, path)
    if not weights:
        raise UserError(f"{path}: net_G has no {AVERAGE}*: expected a training that averages its generator")
    sizes = generator_sizes(weights, resolution, path)
    lacking = [name for name in TRAINING if name not in contents]
    judge = {} if "net_D" in lacking else _renamed(_part(contents, "net_D", path), DISCRIMINATOR, path)
    try:
        vid2vid = Vid2vidConfig(**sizes, **discriminator_sizes(judge, path))
    except UserError as error:
        raise UserError(f"{path}: the shapes of its tensors describe no network of ours: {error}") from None
    with torch.device("meta"):
        averaged = Generator(vid2vid, spectral=False)
    _check_state(weights, averaged, f"{path}: net_G's average")
    num_updates = _number(contents, "current_iteration", path)
    notes = ["the flow's scale and the averaging are not in the file: taken as published (20, 0.999 from update 500)"]
    texture = TextureConfig(parity=True, shared_step_count=True)
    if lacking:
        notes.append(f"no training state ({', '.join(lacking)} missing): the import predicts, and cannot be trained on")
        return ImportedPredictor(vid2vid, texture, weights, None, num_updates, tuple(notes))
    if not vid2vid.temporal_scales:
        notes.append("net_D has no temporal discriminators: vid2vid.temporal_scales is 0")
    texture = _training_knobs(contents, texture, path)
    training = _training(contents, networks, judge, vid2vid, texture, path)
    return ImportedPredictor(vid2vid, texture, weights, training, num_updates, tuple(notes))


def _part(contents: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    part = contents.get(name)
    if not isinstance(part, Mapping):
        has = ", ".join(map(str, contents)) or "nothing"
        raise UserError(f"{path}: no dict {name!r}; expected the original's vid2vid checkpoint, found {has}")
    return part


def _number(contents: Mapping[str, Any], name: str, path: str) -> int:
    value = contents.get(name)
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_floating_point():
        value = int(value)
    if type(value) is not int or value < 0:
        raise UserError(f"{path}: {name} is {value!r}; expected a count: the file is not complete")
    return value


def _renamed(state: Mapping[str, Any], prefix: str, path: str) -> dict[str, Tensor]:
    """The tensors below a prefix by our names, in the file's order."""
    found = {}
    for key, value in state.items():
        if not key.startswith((GENERATOR, AVERAGE, DISCRIMINATOR)):
            raise UserError(f"{path}: unknown tensor {key!r}: not this architecture")
        if not key.startswith(prefix) or key == UPDATES:
            continue
        name = from_original(key.removeprefix(prefix))
        if name is None or not isinstance(value, Tensor):
            raise UserError(f"{path}: unknown tensor {key!r}: not this architecture")
        found[name] = value
    return found


def _check_state(state: Mapping[str, Tensor], network: nn.Module, where: str) -> None:
    """Every tensor of the network, of its shape and type, and no other."""
    own = network.state_dict()
    for name, value in state.items():
        if name not in own:
            raise UserError(f"{where} has {name!r}, which a network of these sizes lacks: not this architecture")
        expected = own[name]
        if value.shape != expected.shape or value.dtype != torch.float32:
            found = f"{tuple(value.shape)} {value.dtype}, expected {tuple(expected.shape)} torch.float32"
            raise UserError(f"{where}: {name!r} is {found}: not what the other tensors describe")
    if missing := [name for name in own if name not in state]:
        raise UserError(f"{where} has no tensor for {missing[0]!r}: the file is not complete")


def _training_knobs(contents: Mapping[str, Any], texture: TextureConfig, path: str) -> TextureConfig:
    groups = {name: _group(contents, name, path) for name in ("opt_G", "opt_D")}
    rates: dict[str, Any] = {name: group.get("lr") for name, group in groups.items()}
    betas = {tuple(group.get("betas", ())) for group in groups.values()}
    settings = {(group.get("eps"), group.get("weight_decay", 0)) for group in groups.values()}
    if len(betas) != 1 or settings != {(1e-8, 0)} or not all(isinstance(rate, float) for rate in rates.values()):
        raise UserError(
            f"{path}: the optimizers have betas {sorted(betas)} and (eps, weight decay) {sorted(settings)}: expected "
            "Adam with a learning rate, one pair of betas, 1e-8 and 0"
        )
    # Torch's Adam counts for every parameter; the original's fused one has a single count for all of them.
    shared = all("step" in group for group in groups.values())
    return replace(
        texture,
        lr_generator=rates["opt_G"],
        lr_discriminator=rates["opt_D"],
        betas=betas.pop(),
        shared_step_count=shared,
    )


def _group(contents: Mapping[str, Any], name: str, path: str) -> Mapping[str, Any]:
    groups = _part(contents, name, path).get("param_groups")
    if not isinstance(groups, list) or len(groups) != 1 or not isinstance(groups[0], Mapping):
        raise UserError(f"{path}: {name} has no single group of parameters: expected the original's Adam")
    return groups[0]


def _training(
    contents: Mapping[str, Any],
    networks: Mapping[str, Any],
    judge: dict[str, Tensor],
    vid2vid: Vid2vidConfig,
    texture: TextureConfig,
    path: str,
) -> dict[str, Any]:
    with torch.device("meta"):
        generator, discriminator = Generator(vid2vid), Discriminator(vid2vid)
    state = _renamed(networks, GENERATOR, path)
    _check_state(state, generator, f"{path}: net_G")
    _check_state(judge, discriminator, f"{path}: net_D")
    optimizers = [
        _optimizer(contents, name, given, network, texture, path)
        for name, given, network in (("opt_G", state, generator), ("opt_D", judge, discriminator))
    ]
    return {
        "generator": state,
        "discriminator": judge,
        "average_updates": _number(networks, UPDATES, path),
        "generator_optimizer": optimizers[0],
        "discriminator_optimizer": optimizers[1],
    }


def _optimizer(
    contents: Mapping[str, Any],
    name: str,
    given: Mapping[str, Tensor],
    network: nn.Module,
    texture: TextureConfig,
    path: str,
) -> dict[str, Any]:
    """Adam's state under our parameters' indices. Theirs go by the order of the parameters in the file."""
    group, moments = _group(contents, name, path), _part(contents, name, path).get("state")
    ours = {parameter: i for i, (parameter, _) in enumerate(network.named_parameters())}
    theirs = [parameter for parameter in given if parameter in ours]
    if not isinstance(moments, Mapping) or not set(moments) <= set(range(len(theirs))):
        raise UserError(f"{path}: {name} is not for the {len(theirs)} parameters in the file")
    state = {}
    for index, entry in moments.items():
        parameter = theirs[index]
        pair = {key: entry.get(key) for key in ("exp_avg", "exp_avg_sq")}
        if any(not isinstance(m, Tensor) or m.shape != given[parameter].shape for m in pair.values()):
            raise UserError(f"{path}: {name}'s state {index} does not fit {parameter!r}: the file is not complete")
        count = float(group["step"] if texture.shared_step_count else entry["step"])
        state[ours[parameter]] = {"step": torch.tensor(count)} | {key: value.float() for key, value in pair.items()}
    lr = texture.lr_generator if name == "opt_G" else texture.lr_discriminator
    converted = predictor_adam(network.parameters(), lr, texture).state_dict()
    if texture.shared_step_count:
        converted["param_groups"][0]["shared_step"] = int(group["step"])
    return converted | {"state": dict(sorted(state.items()))}
