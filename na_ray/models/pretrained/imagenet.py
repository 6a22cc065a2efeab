"""Files of ImageNet weights, in torchvision's names: read with care, loaded strictly."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

import fsspec
import torch
from torch import Tensor, nn

from na_ray.config.secrets import hidden, opened_by, public
from na_ray.config.values import UserError

WEIGHTS_VARIABLE = "NA_RAY_WEIGHTS"
"""Environment variable that names the folder of published weights."""


def find_weights(*patterns: str, folder: str | os.PathLike[str] | None = None) -> Path:
    """The first file that matches a pattern, the earlier ones first, in `folder` (default: what the variable names).

    Raises FileNotFoundError that says what is absent; the caller adds what follows and what to do.
    """
    place = os.environ.get(WEIGHTS_VARIABLE, "") if folder is None else folder
    if not place:
        raise FileNotFoundError(f"{WEIGHTS_VARIABLE} is not set")
    found = [file for pattern in patterns for file in sorted(Path(place).glob(pattern))]
    if not found:
        raise FileNotFoundError(f"{place} has no {' or '.join(patterns)}")
    return found[0]


def load_weights(
    module: nn.Module, path: str, network: str, unused: tuple[str, ...], remedy: str, sizes: str = ""
) -> None:
    """Load a file (or an fsspec URL) of ImageNet weights: every tensor must match by name and shape.

    `network` names the expected one, `unused` are beginnings of names to skip, `remedy` says what to do without the
    file, and `sizes` which knobs give the published shapes. Raises UserError or FileNotFoundError with one line.
    """
    own = module.state_dict()
    given = {name: value for name, value in _read(path, network, remedy).items() if not name.startswith(unused)}
    for name, value in own.items():
        # Files older than torch 0.4.1 have no batch counters.
        if name not in given and not name.endswith("num_batches_tracked"):
            raise UserError(f"{path}: no tensor {name!r}: expected the state dict of {network}")
        if name in given and given[name].shape != value.shape:
            shapes = f"{tuple(given[name].shape)}, expected {tuple(value.shape)}"
            raise UserError(f"{path}: {name!r} has shape {shapes}" + (f" ({sizes})" if sizes else ""))
    if extra := sorted(set(given) - set(own)):
        raise UserError(f"{path}: unknown tensor {extra[0]!r}: expected the state dict of {network}")
    module.load_state_dict(own | given)


def _read(path: str, network: str, remedy: str) -> Mapping[str, Tensor]:
    if "://" not in path and not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file on {socket.gethostname()}; {remedy}")
    try:
        where, options = opened_by(path)
        with fsspec.open(where, "rb", **options) as file:
            weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{public(path)}: cannot be read as ImageNet weights: {hidden(reason)}") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path}: expected a state dict of tensors ({network})")
    return weights
