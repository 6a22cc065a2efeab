"""Perceptual distance of two pictures: features of VGG-19, or, without its weights, a Laplacian pyramid.

VGG-19's ImageNet weights (Simonyan & Zisserman 2015) are torchvision's file `vgg19-dcbb9e9d.pth`, or any state dict
with its names. Name it in `texture.vgg_weights`, or put it as `vgg19.pth` (or `vgg19-*.pth`) into the folder that the
environment variable `NA_RAY_WEIGHTS` names.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from na_ray.config.texture import TextureConfig
from na_ray.config.values import UserError
from na_ray.models.pretrained.imagenet import WEIGHTS_VARIABLE, find_weights, load_weights
from na_ray.models.vid2vid.losses import mean_difference

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of VGG-19's five stages."""

DEPTHS = (2, 2, 4, 4, 4)
"""Convolutions of each stage."""

LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Weights of the features after the first ReLU of each stage."""

UNUSED = ("classifier.", "features.30.", "features.32.", "features.34.")
"""Parts of a VGG-19 file behind the last feature that is compared."""

PYRAMID_LEVELS = 5
"""Levels of the Laplacian pyramid, the low-pass rest included: it sees differences of up to 16 pixels."""


class Vgg19(nn.Module):
    """VGG-19 up to ReLU 5_1 with torchvision's parameter names, frozen, and the distance of features that it gives.

    `widths`: channels of the stages; the published ones fit ImageNet weights.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        """Make the network with random weights: `load_perceptual` fills them."""
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for stage, (width, depth) in enumerate(zip(widths, DEPTHS, strict=True)):
            layers += [nn.MaxPool2d(2)] if stage else []
            for _ in range(depth if stage < len(widths) - 1 else 1):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        firsts = [1] + [i + 2 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.compared = frozenset(firsts)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def compute_features(self, picture: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Features (b, c, h', w') after ReLU 1_1, 2_1, 3_1, 4_1 and 5_1 of pictures in [-1, 1]."""
        x = ((picture + 1) / 2 - self.mean) / self.deviation
        found = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.compared:
                found.append(x)
        return found

    def forward(self, image: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """Weighted sum of mean |difference| of the features (Johnson et al. 2016); no gradient flows into `target`."""
        with torch.no_grad():
            theirs = self.compute_features(target)
        parts = [mean_difference(a, b) for a, b in zip(self.compute_features(image), theirs, strict=True)]
        return torch.stack([weight * part for weight, part in zip(LAYER_WEIGHTS, parts, strict=True)]).sum()


class LaplacianPyramid(nn.Module):
    """Mean |difference| of each level of two Laplacian pyramids (Burt & Adelson 1983), summed over the levels.

    The substitute for VGG-19 that needs no weights. It weighs coarse structure as much as fine, as the deeper features
    do, where a plain L1 loss sees pixels alone; that sum is the Lap1 loss of Bojanowski et al. (2018). It knows nothing
    of what pictures show: expect blurrier textures.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.tensor([1.0, 4, 6, 4, 1]) / 16
        self.register_buffer("kernel", torch.outer(row, row).expand(3, 1, 5, 5).clone(), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 h w"], target: Float[Tensor, "b 3 h w"]) -> Float[Tensor, ""]:
        """The distance of two pictures of one size, in any scale of colors; no gradient flows into `target`."""
        # Never in half precision: its differences, and the places that it interpolates at, are rounded.
        with torch.autocast(image.device.type, enabled=False):
            # The pyramid is linear: that of the difference is the difference of the pyramids.
            rest = image.to(self.kernel.dtype) - target.detach().to(self.kernel.dtype)
            parts = []
            for _ in range(PYRAMID_LEVELS - 1):
                if min(rest.shape[2:]) < 4:
                    break
                padded = F.pad(rest, (2, 2, 2, 2), mode="reflect")
                coarse = F.conv2d(padded, self.kernel, stride=2, groups=3)
                size = (rest.shape[2], rest.shape[3])
                parts.append((rest - F.interpolate(coarse, size, mode="bilinear")).abs().mean())
                rest = coarse
            return torch.stack([*parts, rest.abs().mean()]).sum()


def load_perceptual(config: TextureConfig) -> tuple[nn.Module, str]:
    """The perceptual loss that a configuration asks for (image, target -> scalar), and its name for the user.

    Raises FileNotFoundError or UserError with one line for weights that are absent, unreadable or do not match.
    """
    if config.perceptual == "pyramid" and config.vgg_weights:
        raise UserError("texture.vgg_weights names a file that texture.perceptual pyramid does not read: drop one")
    path = "" if config.perceptual == "pyramid" else config.vgg_weights or _published_file()
    if path:
        vgg = Vgg19()
        remedy = "correct texture.vgg_weights, or choose texture.perceptual pyramid, which needs none"
        load_weights(vgg, path, "torchvision's VGG-19", UNUSED, remedy)
        return vgg, f"VGG-19 with ImageNet weights from {path}"
    if config.perceptual == "vgg19":
        raise FileNotFoundError(
            f"no VGG-19 weights: texture.vgg_weights is empty and ${WEIGHTS_VARIABLE} has no vgg19.pth; "
            "name torchvision's vgg19-dcbb9e9d.pth, or choose texture.perceptual pyramid"
        )
    why = (
        "needs no weights" if config.perceptual == "pyramid" else "no VGG-19 weights: texture.vgg_weights names a file"
    )
    return LaplacianPyramid(), f"Laplacian pyramid ({why})"


def _published_file() -> str:
    """VGG-19's file in the folder of weights; empty when there is none."""
    try:
        return str(find_weights("vgg19.pth", "vgg19-*.pth"))
    except FileNotFoundError:
        return ""
