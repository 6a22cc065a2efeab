"""What a picture should resemble: absolute and squared differences, and structural similarity with its own gradient."""

from typing import Any

import torch
import torch.nn.functional as F
import warp as wp
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from na_ray.body import kernels
from na_ray.models.splats import loss_kernels

WINDOW = 7
"""Side of the square over which SSIM compares means and variances."""
C1, C2 = 0.01**2, 0.03**2


def picture_loss(
    color: Float[Tensor, "h w 3"], target: Float[Tensor, "h w 3"], l1: float, l2: float, ssim: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """l1 |d| + l2 d^2 + ssim (1 - SSIM), means over the picture, and the mean of d^2. RGB in [0, 1].

    Pictures smaller than SSIM's window go without it.
    """
    if color.device.type == "cpu" and color.dtype == torch.float32:
        loss, squared = _OnCpu.apply(color, target, l1, l2, ssim)
        return loss, squared
    difference = color - target
    squared = difference.square().mean()
    loss = l1 * difference.abs().mean() + l2 * squared
    if ssim and min(color.shape[:2]) >= WINDOW:
        loss = loss + ssim * (1 - structural_similarity(color.permute(2, 0, 1)[None], target.permute(2, 0, 1)[None]))
    return loss, squared.detach()


def pictures_loss(
    colors: Float[Tensor, "k h w 3"],
    targets: Float[Tensor, "k h w 3"],
    windows: Int[Tensor, "k 4"],
    l1: float,
    l2: float,
    ssim: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The sums of `picture_loss` over k pictures of which the last two numbers of `windows` give width and height:
    what lies beyond is left out. Sizes are read on the device alone, and few kernels do it all: the way of a GPU.
    """
    height, width = colors.shape[1:3]
    widths, heights = windows[:, 2, None, None], windows[:, 3, None, None]
    rows = torch.arange(height, device=colors.device)[:, None]
    columns = torch.arange(width, device=colors.device)
    inside = (rows < heights) & (columns < widths)
    share = (inside / (3 * heights * widths).clamp(min=1))[..., None]
    difference = colors - targets
    squared = (share * difference.square()).sum()
    loss = l1 * (share * difference.abs()).sum() + l2 * squared
    if ssim and min(height, width) >= WINDOW:
        down, across = heights - WINDOW + 1, widths - WINDOW + 1
        fits = (rows[: 1 - WINDOW] < down) & (columns[: 1 - WINDOW] < across)
        shares = fits / (3 * down.clamp(min=1) * across.clamp(min=1))
        x, y = (part.permute(0, 3, 1, 2).contiguous() for part in (colors, targets))
        compared = (shares.sum(dim=(1, 2)) * 3).sum().detach()  # pictures that are large enough
        loss = loss + ssim * (compared - _Ssim.apply(x, y, shares[:, None]))
    return loss, squared.detach()


class _OnCpu(torch.autograd.Function):
    """The same by `loss_kernels`, in a third of the time; the gradient is found along the way."""

    @staticmethod
    def forward(ctx: Any, color: Tensor, target: Tensor, *weights: float) -> tuple[Tensor, Tensor]:
        h, w, _ = color.shape
        rows = [p.detach().reshape(h, 3 * w) for p in (color, target)]
        ctx.gradient = color.new_empty(h, w, 3)
        room = [color.new_empty(6, 3 * w + 18), color.new_empty(3 * h, 3 * w), ctx.gradient.view(h, 3 * w)]
        result = color.new_empty(2)
        arrays = [kernels.as_array(t) for t in (*room, result)]
        inputs = [*map(kernels.as_array, rows), *weights, C1, C2]
        wp.launch(loss_kernels.picture_loss, 1, [*inputs, *arrays], device="cpu")
        loss, squared = result.unbind()
        ctx.mark_non_differentiable(squared)
        return loss, squared

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        return grad * ctx.gradient, None, None, None, None


def structural_similarity(x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Mean SSIM (Wang et al. 2004) over the places where a uniform window fits; differentiable in x alone."""
    return _Ssim.apply(x, y, None)


class _Ssim(torch.autograd.Function):
    """SSIM is a function of three means a window, of x, x^2 and x y: one box filter each way for its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, shares: Tensor | None) -> Tensor:
        """The mean, or the sum of what the windows have times their `shares` (b, 1, h - 6, w - 6)."""
        c = x.shape[1]
        means = _box(torch.cat([x, y, x * x, y * y, x * y], dim=1))
        mx, my, xx, yy, xy = means.split(c, dim=1)
        across, squares = mx * my, mx * mx + my * my
        above1, above2 = 2 * across + C1, 2 * (xy - across) + C2
        below1, below2 = squares + C1, xx + yy - squares + C2
        inverse = 1 / (below1 * below2)
        ssim = above1 * above2 * inverse
        # Of the mean, by the three that follow x; divisions are what costs.
        by_xy = 2 * above1 * inverse
        by_xx = -ssim * below1 * inverse
        by_mx = 2 * (my * (above2 - above1) - mx * ssim * (below2 - below1)) * inverse
        slopes = torch.cat([by_mx, by_xx, by_xy], dim=1)
        slopes = slopes / ssim.numel() if shares is None else slopes * shares
        edge = WINDOW - 1
        by_mx, by_xx, by_xy = _box(F.pad(slopes, (edge,) * 4)).split(c, dim=1)
        ctx.gradient = by_mx + 2 * x * by_xx + y * by_xy
        return ssim.mean() if shares is None else (ssim * shares).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad * ctx.gradient, None, None


def _box(x: Tensor) -> Tensor:
    """Means over the windows of 7 x 7 that fit."""
    return F.avg_pool2d(x, WINDOW, 1)
