"""The folder of numbers of the original vid2vid, our networks with its weights, and the table of comparisons."""

import json
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_fixture import Table
from torch import Tensor, nn

from na_ray.config import Vid2vidConfig
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generated, Generator
from na_ray.original.names import from_original, to_original

TINY = Vid2vidConfig(
    resolution=(64, 128),
    num_filters=4,
    max_num_filters=16,
    num_layers=5,
    num_downsamples_img=3,
    embed_downsamples=4,
    flow_filters=4,
    image_filters=4,
    temporal_filters=4,
    max_discriminator_filters=16,
)
"""The sizes of tiny_config.json."""

DEEP = Vid2vidConfig(resolution=(256, 256), num_filters=4, max_num_filters=16, flow_filters=4)
"""Those of generator_deep.npz."""


class Summary(Table):
    """Comparisons, printed by group: `file` is the group's name."""

    def relative(self, group: str, name: str, found: Any, expected: Any, tolerance: float, floor: float = 0.0) -> None:
        """Compare up to `tolerance` |expected| + `floor`: the error is given in units of |expected| + floor."""
        a, b = (np.asarray(x.detach() if isinstance(x, Tensor) else x, np.float64) for x in (found, expected))
        error = np.inf
        if a.shape == b.shape:
            difference = np.abs(a - b) / np.maximum(np.abs(b) + floor / tolerance, 1e-300)
            error = float(difference.max()) if a.size else 0.0
        self.rows.append((group, name, error, tolerance))

    def print(self) -> int:
        """Print a line for each group and tolerance; returns how many comparisons exceed theirs."""
        groups: dict[tuple[str, float], list[tuple[float, str]]] = defaultdict(list)
        for group, name, error, tolerance in self.rows:
            groups[group, tolerance].append((error, name))
        print(f"{'group':44} {'arrays':>6} {'largest':>9} {'allowed':>9}  worst")
        for (group, tolerance), found in groups.items():
            error, name = max(found)
            outside = sum(not e <= tolerance for e, _ in found)
            mark = f"  {outside} OUTSIDE" if outside else ""
            print(f"{group:44} {len(found):6} {error:9.1e} {tolerance:9.0e}  {name}{mark}")
        bad = sum(not error <= tolerance for _, _, error, tolerance in self.rows)
        print(f"{len(self.rows)} comparisons, {bad} outside the tolerance")
        return bad


class Arrays:
    """The arrays of one file, which know which of them were read."""

    def __init__(self, path: Path) -> None:
        self.file = np.load(path)
        self.names: list[str] = list(self.file.files)
        self.unread = set(self.names)

    def __getitem__(self, name: str) -> Any:
        self.unread.discard(name)
        return self.file[name]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def under(self, prefix: str) -> list[str]:
        """What follows the prefix in all names that have it."""
        return [name.removeprefix(prefix) for name in self.names if name.startswith(prefix)]


@dataclass
class Numbers:
    """A folder of numbers."""

    folder: Path
    dtype: torch.dtype
    opened: dict[str, Arrays] = field(default_factory=dict)

    @property
    def double(self) -> bool:
        """Compared in float64?"""
        return self.dtype == torch.float64

    def load(self, name: str) -> Arrays:
        """The arrays of one file."""
        if name not in self.opened:
            self.opened[name] = Arrays(self.folder / f"{name}.npz")
        return self.opened[name]

    def json(self, name: str) -> Any:
        """A file's contents."""
        return json.loads((self.folder / f"{name}.json").read_text())

    def tensor(self, array: Any) -> Tensor:
        """An array in the precision under test."""
        return torch.tensor(np.asarray(array), dtype=self.dtype)

    def bytes(self, array: Any) -> Tensor:
        """Maps of bytes u as (u / 255 - 0.5) / 0.5, computed in float32."""
        return self.tensor((np.asarray(array, np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5))

    def generator(self) -> Generator:
        """The tiny generator with the original's weights."""
        return self.filled(Generator(TINY), "G/")

    def discriminator(self) -> Discriminator:
        """The tiny discriminators with the original's weights."""
        return self.filled(Discriminator(TINY), "D/")

    def filled(self, network: Any, prefix: str) -> Any:
        """A network with the weights of weights_tiny.npz, strictly."""
        arrays = self.load("weights_tiny")
        state = {from_original(key): self.tensor(arrays[prefix + key]) for key in arrays.under(prefix)}
        network.to(self.dtype).load_state_dict(state)
        return network.eval()


def roll(generator: Generator, labels: Tensor) -> list[Generated]:
    """The generator over a sequence (b, t, 3, h, w), on its own outputs."""
    frames: list[Generated] = []
    for t in range(labels.shape[1]):
        recent = slice(max(0, t - 2), t)
        images = [frame.image.detach() for frame in frames[recent]]
        past = torch.stack(images, dim=1) if images else labels[:, :0]
        previous = frames[-1].embedding if frames else None
        frames.append(generator(labels[:, t], labels[:, recent], past, previous))
    return frames


def stream(seed: int, name: str, shape: Sequence[int]) -> Any:
    """The normal numbers that the recipe draws for a name, float64."""
    return np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode())).standard_normal(size=tuple(shape))


def checksums(table: Summary, group: str, arrays: Arrays, weights: dict[str, Any]) -> None:
    """Sum and sum of squares of weights made by recipe."""
    for key, expected in json.loads(str(arrays["weight_checksums_json"])).items():
        if key in weights:
            weight = np.asarray(weights[key], np.float64)
            table.relative(group, key, [weight.sum(), (weight**2).sum()], expected, 1e-9, 1e-9)


def originals(network: nn.Module, folded: bool = False) -> dict[str, tuple[int, ...]]:
    """The original's keys of a network's state, with their shapes."""
    return {to_original(name, folded): tuple(value.shape) for name, value in network.state_dict().items()}
