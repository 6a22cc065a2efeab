"""How close a picture is to the photograph: PSNR, SSIM, LPIPS, and the box around the body that they look at.

Pictures are (height, width, 3), RGB in [0, 1]. PSNR and SSIM follow section 5 of the parity page, in float64.
LPIPS (Zhang et al., CVPR 2018, version 0.1, AlexNet) needs two published files that do not come with this
package. Put them into a folder and name it in the environment variable `NA_RAY_WEIGHTS`:

    alexnet*.pth   torchvision's ImageNet weights, e.g. `alexnet-owt-7be5be79.pth`
    alex.pth       the linear heads from the LPIPS repository, `lpips/weights/v0.1/alex.pth`
"""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from na_ray.config.values import UserError
from na_ray.models.pretrained.imagenet import find_weights

SSIM_WINDOW = 7
"""Side (px) of SSIM's window: smaller pictures have no SSIM."""

LPIPS_MIN_SIDE = 31
"""Side (px) of the smallest picture that passes AlexNet's strides."""


def psnr(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
    """-10 log10 of the mean squared error (dB), at most 100: equal pictures keep a mean over images finite."""
    error = (image.double() - target.double()).square().mean()
    return float(-10 * torch.log10(error.clamp_min(1e-10)))


def ssim(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> float:
    """Mean structural similarity over windows and channels (`ssim_map`)."""
    return float(ssim_map(image, target).mean())


def ssim_map(image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"]) -> Float[Tensor, "i j c"]:
    """Structural similarity of every uniform 7x7 window inside the picture: sample covariance, data range 1.

    S = (2 mx my + c1)(2 sxy + c2) / ((mx^2 + my^2 + c1)(sxx + syy + c2)); i = h - 6, j = w - 6.
    Raises UserError for a picture smaller than the window.
    """
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs pictures of at least 7x7 pixels, this one has {tuple(image.shape[:2])}")
    x, y = (picture.double().permute(2, 0, 1) for picture in (image, target))
    # Float64 because E[x^2] - E[x]^2 cancels in flat regions; 49/48 turns it into the sample covariance.
    mx, my, xx, yy, xy = (F.avg_pool2d(m, SSIM_WINDOW, stride=1) for m in (x, y, x * x, y * y, x * y))
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    sxx, syy, sxy = unbiased * (xx - mx * mx), unbiased * (yy - my * my), unbiased * (xy - mx * my)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mx * my + c1) * (2 * sxy + c2) / ((mx * mx + my * my + c1) * (sxx + syy + c2))
    return similarity.permute(1, 2, 0)


def masked_psnr(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], mask: Bool[Tensor, "h w"]
) -> float | None:
    """`psnr` over the pixels of a mask; None where it is empty."""
    return psnr(image[mask][None], target[mask][None]) if mask.any() else None


def masked_ssim(
    image: Float[Tensor, "h w c"], target: Float[Tensor, "h w c"], mask: Bool[Tensor, "h w"]
) -> float | None:
    """Mean of `ssim_map` over the windows whose centers lie in a mask; None where there is none."""
    margin = SSIM_WINDOW // 2
    centers = mask[margin:-margin, margin:-margin]
    return float(ssim_map(image, target)[centers].mean()) if centers.any() else None


class Lpips(nn.Module):
    """Learned perceptual distance: AlexNet's features of five depths, compared by learned non-negative weights."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        """Make the network with random weights: `load_lpips` fills them."""
        super().__init__()
        pool = nn.MaxPool2d(kernel_size=3, stride=2)
        # Module numbers are torchvision's, so that its state dict loads strictly.
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), pool),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )
        self.heads = nn.ParameterList(torch.rand(c) for c in (64, 192, 384, 256, 256))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]), persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]), persistent=False)
        self.requires_grad_(False).eval()

    def _normalized_features(self, picture: Float[Tensor, "h w 3"]) -> list[Tensor]:
        """Features after each ReLU, each pixel's vector divided by its length."""
        x = ((2 * picture - 1 - self.shift) / self.scale).permute(2, 0, 1)[None].to(self.heads[0].dtype)
        found = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, image: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"]) -> Float[Tensor, ""]:
        """Distance of two pictures: 0 for equal ones, the larger the less alike.

        Raises UserError for pictures too small for AlexNet's strides.
        """
        if min(image.shape[:2]) < LPIPS_MIN_SIDE:
            raise ValueError(f"LPIPS needs pictures of at least 31x31 pixels, this one has {tuple(image.shape[:2])}")
        pairs = zip(self._normalized_features(image), self._normalized_features(target), self.heads, strict=True)
        parts = [torch.einsum("bchw,c->bhw", (a - b).square(), head).mean() for a, b, head in pairs]
        return torch.stack(parts).sum()


def _take(state: dict[str, Tensor], name: str, shape: tuple[int, ...], file: Path) -> Tensor:
    if name not in state:
        raise UserError(
            f"{file}: no tensor {name!r}: expected the LPIPS weights that na_ray.evaluation.image_metrics names"
        )
    if tuple(state[name].shape) != shape:
        raise UserError(f"{file}: {name} has shape {tuple(state[name].shape)}, expected {shape}")
    return state[name]


def load_lpips(folder: str | os.PathLike[str] | None = None) -> Lpips:
    """LPIPS with the published weights from `folder` (default: the one that `NA_RAY_WEIGHTS` names).

    Raises FileNotFoundError when a file is absent and UserError when its contents are not as described above.
    """
    try:
        alexnet, heads = (find_weights(pattern, folder=folder) for pattern in ("alexnet*.pth", "alex.pth"))
    except FileNotFoundError as missing:
        remedy = "set it to a folder with torchvision's alexnet*.pth and LPIPS's alex.pth"
        raise FileNotFoundError(f"LPIPS is left out: {missing}; {remedy}") from None
    model = Lpips()
    state = torch.load(alexnet, map_location="cpu", weights_only=True)
    wanted = model.features.state_dict()
    model.features.load_state_dict(
        {name: _take(state, f"features.{name}", tuple(value.shape), alexnet) for name, value in wanted.items()}
    )
    state = torch.load(heads, map_location="cpu", weights_only=True)
    for i, head in enumerate(model.heads):
        head.data.copy_(_take(state, f"lin{i}.model.1.weight", (1, len(head), 1, 1), heads).flatten())
    return model
