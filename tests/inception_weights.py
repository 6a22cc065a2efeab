"""Files of Inception-v3 weights with the names and shapes of the published one, and other numbers."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

FILE = "inception_v3_google-0cc3c7bd.pth"

STEM = "Conv2d_1a_3x3 32 3 3 3; Conv2d_2a_3x3 32 32 3 3; Conv2d_2b_3x3 64 32 3 3; Conv2d_3b_1x1 80 64 1 1; "
STEM += "Conv2d_4a_3x3 192 80 3 3"
DOUBLE = "branch3x3dbl_1 64 C 1 1; branch3x3dbl_2 96 64 3 3; branch3x3dbl_3 96 96 3 3"
FIVE = f"branch1x1 64 C 1 1; branch5x5_1 48 C 1 1; branch5x5_2 64 48 5 5; {DOUBLE}; branch_pool W C 1 1"
SEVEN = "branch1x1 192 C 1 1; branch7x7_1 W C 1 1; branch7x7_2 W W 1 7; branch7x7_3 192 W 7 1; branch7x7dbl_1 W C 1 1; "
SEVEN += "branch7x7dbl_2 W W 7 1; branch7x7dbl_3 W W 1 7; branch7x7dbl_4 W W 7 1; branch7x7dbl_5 192 W 1 7; "
SEVEN += "branch_pool 192 C 1 1"
LONG = "branch3x3_1 192 C 1 1; branch3x3_2 320 192 3 3; branch7x7x3_1 192 C 1 1; branch7x7x3_2 192 192 1 7; "
LONG += "branch7x7x3_3 192 192 7 1; branch7x7x3_4 192 192 3 3"
FORKS = "branch1x1 320 C 1 1; branch3x3_1 384 C 1 1; branch3x3_2a 384 384 1 3; branch3x3_2b 384 384 3 1; "
FORKS += "branch3x3dbl_1 448 C 1 1; branch3x3dbl_2 384 448 3 3; branch3x3dbl_3a 384 384 1 3; "
FORKS += "branch3x3dbl_3b 384 384 3 1; branch_pool 192 C 1 1"
BLOCKS = {
    "Mixed_5b": (192, 32, FIVE),
    "Mixed_5c": (256, 64, FIVE),
    "Mixed_5d": (288, 64, FIVE),
    "Mixed_6a": (288, 0, f"branch3x3 384 C 3 3; {DOUBLE}"),
    "Mixed_6b": (768, 128, SEVEN),
    "Mixed_6c": (768, 160, SEVEN),
    "Mixed_6d": (768, 160, SEVEN),
    "Mixed_6e": (768, 192, SEVEN),
    "Mixed_7a": (768, 0, LONG),
    "Mixed_7b": (1280, 0, FORKS),
    "Mixed_7c": (2048, 0, FORKS),
}
"""(channels C in, width W, convolutions: name, channels out and in, rows, columns)."""


def convolutions() -> Iterator[tuple[str, tuple[int, ...]]]:
    for row in STEM.split("; "):
        name, *shape = row.split()
        yield name, tuple(map(int, shape))
    for block, (channels, width, rows) in BLOCKS.items():
        for row in rows.split("; "):
            name, *shape = row.split()
            yield f"{block}.{name}", tuple({"C": channels, "W": width}.get(n) or int(n) for n in shape)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Of the tensors up to the pooling, without the counters of batches."""
    shapes = {}
    for name, shape in convolutions():
        shapes[f"{name}.conv.weight"] = shape
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = shape[:1]
    return shapes


def random_state() -> dict[str, torch.Tensor]:
    """Numbers that NumPy's oldest generator draws from each tensor's name; activations neither fade nor explode."""
    state = {}
    for name, shape in published_shapes().items():
        drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        values = torch.from_numpy(drawn.astype(np.float32))
        if len(shape) == 4:
            state[name] = values * (2 / values[0].numel()) ** 0.5
        elif name.endswith(("weight", "running_var")):
            state[name] = 1 + 0.2 * values.clamp(-3, 3)
        else:
            state[name] = 0.2 * values
    return state


def light_state() -> dict[str, torch.Tensor]:
    """Positive averages, the same for every channel: a small file, whose features depend on the picture."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in published_shapes().items():
        if len(shape) == 4:
            kernel = torch.rand(1, *shape[1:], generator=generator)
            state[name] = (kernel / kernel.sum()).expand(shape)
        else:
            middle, spread = (1.0, 0.3) if name.endswith(("weight", "running_var")) else (0.0, 0.1)
            state[name] = middle + spread * (torch.rand(shape, generator=generator) - 0.5)
    return state


def write_weights(folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """The file, with a classifier as the published one has."""
    torch.save(state | {"fc.bias": torch.zeros(1000), "AuxLogits.fc.bias": torch.zeros(1000)}, folder / FILE)
    return folder / FILE
