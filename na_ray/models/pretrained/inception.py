"""Inception-v3 up to the 2048 features of its last pooling: what FID compares (Szegedy et al., CVPR 2016).

Modules bear torchvision's names, so that its ImageNet weights `inception_v3_google-0cc3c7bd.pth` load strictly. Put
that file into the folder that the environment variable `NA_RAY_WEIGHTS` names.
"""

import os
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.config.values import UserError
from na_ray.models.pretrained.imagenet import find_weights, load_weights

SIDE = 299
"""Side (px) that pictures are resized to."""

FEATURES = 2048
"""Numbers that describe a picture."""

UNUSED = ("fc.", "AuxLogits.")
"""Parts of the file that classify."""

Kernel = tuple[int, int]
"""(rows, columns) of a convolution."""

Step = tuple[int, Sequence[Kernel]]
"""Channels of a convolution and its kernel, or the kernels of several side by side, which are then concatenated."""

POINT, SQUARE, WIDE, TALL = (1, 1), (3, 3), (1, 7), (7, 1)


class ConvNorm(nn.Module):
    """Convolution, batch norm and ReLU."""

    def __init__(self, channels: int, width: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        """From `channels` to `width`; `padded` keeps the size at stride 1."""
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Features of the next depth."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Branches of convolutions and a pooling side by side, concatenated."""

    def __init__(self, channels: int, branches: dict[str, list[Step]], pool: int = 0) -> None:
        """`branches`: steps by name. `pool`: channels of the convolution behind an average pooling.

        Without it the block halves the size, by the last step of each branch and by a maximum pooling.
        """
        super().__init__()
        self.steps: list[list[list[str]]] = []
        """Of each branch, of each step: the names of its convolutions."""
        self.halves = not pool
        for name, steps in branches.items():
            self.steps.append([])
            width = channels
            for number, (out, kernels) in enumerate(steps, 1):
                shrinks = self.halves and number == len(steps)
                label = name if len(steps) == 1 else f"{name}_{number}"
                labels = [label + "ab"[k] for k in range(len(kernels))] if len(kernels) > 1 else [label]
                for one, kernel in zip(labels, kernels, strict=True):
                    self.add_module(one, ConvNorm(width, out, kernel, 2 if shrinks else 1, padded=not shrinks))
                self.steps[-1].append(labels)
                width = out * len(kernels)
        if pool:
            self.branch_pool = ConvNorm(channels, pool, POINT)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Features of the next depth."""
        found = []
        for branch in self.steps:
            y = x
            for labels in branch:
                y = torch.cat([self.get_submodule(label)(y) for label in labels], 1)
            found.append(y)
        pooled = F.max_pool2d(x, 3, 2) if self.halves else self.branch_pool(F.avg_pool2d(x, 3, 1, padding=1))
        return torch.cat([*found, pooled], 1)


def _block_35(channels: int, pool: int) -> Mixed:
    double: list[Step] = [(64, [POINT]), (96, [SQUARE]), (96, [SQUARE])]
    branches: dict[str, list[Step]] = {"branch1x1": [(64, [POINT])], "branch5x5": [(48, [POINT]), (64, [(5, 5)])]}
    return Mixed(channels, branches | {"branch3x3dbl": double}, pool)


def _halve_35() -> Mixed:
    double: list[Step] = [(64, [POINT]), (96, [SQUARE]), (96, [SQUARE])]
    return Mixed(288, {"branch3x3": [(384, [SQUARE])], "branch3x3dbl": double})


def _block_17(width: int) -> Mixed:
    once: list[Step] = [(width, [POINT]), (width, [WIDE]), (192, [TALL])]
    twice: list[Step] = [(width, [POINT]), (width, [TALL]), (width, [WIDE]), (width, [TALL]), (192, [WIDE])]
    return Mixed(768, {"branch1x1": [(192, [POINT])], "branch7x7": once, "branch7x7dbl": twice}, 192)


def _halve_17() -> Mixed:
    long: list[Step] = [(192, [POINT]), (192, [WIDE]), (192, [TALL]), (192, [SQUARE])]
    return Mixed(768, {"branch3x3": [(192, [POINT]), (320, [SQUARE])], "branch7x7x3": long})


def _block_8(channels: int) -> Mixed:
    fork: Step = (384, [(1, 3), (3, 1)])
    branches: dict[str, list[Step]] = {
        "branch1x1": [(320, [POINT])],
        "branch3x3": [(384, [POINT]), fork],
        "branch3x3dbl": [(448, [POINT]), (384, [SQUARE]), fork],
    }
    return Mixed(channels, branches, 192)


class Inception(nn.Module):
    """The network, frozen. Names of blocks are torchvision's."""

    def __init__(self) -> None:
        """Make it with random weights: `load_inception` fills them."""
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, SQUARE, stride=2, padded=False)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, SQUARE, padded=False)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, SQUARE)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, POINT)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, SQUARE, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _block_35(192, 32), _block_35(256, 64), _block_35(288, 64)
        self.Mixed_6a = _halve_35()
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_block_17, (128, 160, 160, 192))
        self.Mixed_7a = _halve_17()
        self.Mixed_7b, self.Mixed_7c = _block_8(1280), _block_8(2048)
        self.requires_grad_(False).eval()

    def forward(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        """Features of RGB pictures in [0, 1] of any size."""
        x = F.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=True)
        # ImageNet's normalization (x - mean) / deviation, then what torchvision's pretrained network does first, its
        # `transform_input`: it takes that back to the scale that the weights were trained with. Together they are this.
        x = 2 * x - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def load_inception(folder: str | os.PathLike[str] | None = None) -> Inception:
    """Inception-v3 with `inception_v3*.pth` from `folder` (default: the one that `NA_RAY_WEIGHTS` names).

    Raises FileNotFoundError when the file is absent and UserError when it is another; one line.
    """
    remedy = "set it to a folder with torchvision's inception_v3_google-0cc3c7bd.pth"
    try:
        path = find_weights("inception_v3*.pth", folder=folder)
    except FileNotFoundError as missing:
        raise FileNotFoundError(f"FID is left out: {missing}; {remedy}") from None
    model = Inception()
    load_weights(model, str(path), "torchvision's Inception-v3", UNUSED, remedy)
    if not all(value.isfinite().all() for value in model.state_dict().values()):
        raise UserError(f"{path}: holds numbers that are not finite: copy the file again")
    return model
