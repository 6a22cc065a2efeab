"""What generator and discriminators minimize, each loss a mean over the batch (vid2vid, Wang et al. 2018).

Logits and features may come from half-precision networks: the losses are computed in float32 at least.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from na_ray.models.vid2vid.discriminator import DiscriminatorOutput, Patches
from na_ray.models.vid2vid.flow import warp
from na_ray.models.vid2vid.generator import Generated

SAME_COLOR = 0.02
"""Squared RGB difference (of colors in [-1, 1]) below which a warped pixel counts as found again."""


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32, or float64 if it is that."""
    return x if x.dtype == torch.float64 else x.float()


def hinge_real(logits: list[Tensor]) -> Float[Tensor, ""]:
    """mean(relu(1 - D(real))), averaged over the sub-discriminators' maps (b, 1, h, w): the discriminator's half."""
    return _average([F.relu(1 - full_precision(x)).mean() for x in logits])


def hinge_fake(logits: list[Tensor]) -> Float[Tensor, ""]:
    """mean(relu(1 + D(fake))), averaged over the sub-discriminators' maps (b, 1, h, w): the other half."""
    return _average([F.relu(1 + full_precision(x)).mean() for x in logits])


def discriminator_loss(output: DiscriminatorOutput) -> Float[Tensor, ""]:
    """Hinge loss of a discriminator (Lim & Ye 2017): 0 where all real logits exceed 1, all fake ones are below -1."""
    return hinge_real(output.real.logits) + hinge_fake(output.fake.logits)


def generator_loss(logits: list[Tensor]) -> Float[Tensor, ""]:
    """-mean(D(fake)), averaged over the sub-discriminators' maps (b, 1, h, w)."""
    return _average([-full_precision(x).mean() for x in logits])


def feature_matching(fake: Patches, real: Patches) -> Float[Tensor, ""]:
    """Sum over layers of mean |f_fake - f_real|, averaged over sub-discriminators (Wang et al. 2018, pix2pixHD, eq. 4).

    No gradient flows into the features of the real frames.
    """
    sums = [
        torch.stack([mean_difference(f, r.detach()) for f, r in zip(ours, theirs, strict=True)]).sum()
        for ours, theirs in zip(fake.features, real.features, strict=True)
    ]
    return _average(sums)


def mean_difference(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    """mean |a - b|."""
    return F.l1_loss(full_precision(a), full_precision(b))


def confidence(
    image: Float[Tensor, "b 3 h w"], previous: Float[Tensor, "b 3 h w"], flow: Float[Tensor, "b 2 h w"]
) -> Float[Tensor, "b 1 h w"]:
    """How far a flow (pixels, from `image` into `previous`) is to be believed: 1 where the colors that it finds differ
    by less than 0.02 (sum over RGB of squares), else 0.
    """
    difference = (image - warp(previous, flow)).square().sum(dim=1, keepdim=True)
    return (difference < SAME_COLOR).to(image.dtype)


@dataclass(frozen=True)
class FlowTarget:
    """What the flow is drawn to."""

    flow: Float[Tensor, "b 2 h w"]
    """Pixels, from a frame into the one before."""
    confidence: Float[Tensor, "b 1 h w"]
    """Weight of each pixel, in [0, 1]."""


def flow_losses(
    generated: Generated, image: Float[Tensor, "b 3 h w"], target: FlowTarget | None, parity: bool = False
) -> dict[str, Tensor]:
    """Losses of flow, warped image and mask against the real frame; nothing where no flow was predicted.

    flow_l1    mean over b, xy, h, w of confidence |flow - target| (left out without a target)
    flow_warp  mean |warped - image|
    flow_mask  mean(mask c) + mean((1 - mask)(1 - c)) with c = clamp(1 - sum_rgb |warped - image|, 0, 1), which is 1
               where the warp is right. `parity`: it has a gradient into c, which where the mask rejects the warp makes
               the warp worse, three times as strongly as flow_warp corrects it; by default c is a constant.
    """
    if generated.flow is None or generated.mask is None or generated.warped is None:
        return {}
    flow, mask, warped = (full_precision(x) for x in (generated.flow, generated.mask, generated.warped))
    losses = {}
    if target is not None:
        losses["flow_l1"] = (target.confidence * (flow - target.flow).abs()).mean()
    losses["flow_warp"] = mean_difference(warped, image)
    right = (1 - ((warped if parity else warped.detach()) - image).abs().sum(dim=1, keepdim=True)).clamp(0, 1)
    losses["flow_mask"] = (mask * right).mean() + ((1 - mask) * (1 - right)).mean()
    return losses


def _average(parts: list[Tensor]) -> Float[Tensor, ""]:
    return torch.stack(parts).mean()
