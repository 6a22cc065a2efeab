"""Gaussians as viser's browser draws them: 32 bytes each, for the eye that looks at them.

Per Gaussian: center (3 x float32), four bytes that the browser fills, the upper triangle of the covariance
(6 x float16) and RGBA (4 x uint8). Lengths are millimetres, in a node of scale `SCALE`: as metres^2 the covariances of
texels would be below float16's smallest normal number (6e-5) and turn indefinite.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt32
from torch import Tensor

from na_ray.models.gaussians import Gaussians

SCALE = 1e-3
"""Of the node, m a unit."""
BYTES = 32
"""A Gaussian."""
DIRECTION_UNIT = 0.1
"""One raw unit of a color's change with the direction of view (`Gaussians.changes`)."""
BROWSER_BLUR = 0.3
"""What the browser adds to the variance of each Gaussian, px^2."""
LEAST_AREA = 0.25
"""It leaves out Gaussians of which opacity x determinant of the covariance (px^4) is less: small ones far away."""
FAINTEST = 0.05
"""Fainter Gaussians are not enlarged any more."""
TRIANGLE = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


@torch.no_grad()
def pack(
    gaussians: Gaussians, origin: Float[np.ndarray, "3"], eye: Float[np.ndarray, "3"], pixel: float
) -> UInt32[np.ndarray, "n 8"]:
    """The Gaussians, which lie around `origin`, as seen from `eye` (both in the world, m).

    A pixel spans `pixel` radians: 1 / focal length in pixels.
    """
    means = gaussians.means
    away = means - torch.as_tensor(np.asarray(eye, np.float64) - origin).to(means)
    distance = away.norm(dim=1).clamp_min(1e-6)
    out = np.zeros((len(means), 8), np.uint32)
    out[:, :3] = _centers(means, origin).view(np.uint32)
    spread = _spread(gaussians.opacities) * (distance * pixel) ** 2
    out[:, 4:7] = _covariances(gaussians.factors, spread).view(np.uint32)
    seen = gaussians.colors + _change(gaussians.changes, gaussians.frames, away / distance[:, None])
    rgba = torch.cat([seen, gaussians.opacities[:, None]], dim=1).clamp(0, 1)
    out[:, 7:] = (rgba * 255 + 0.5).to(torch.uint8).cpu().numpy().view(np.uint32)
    return out


def _centers(means: Float[Tensor, "n 3"], origin: Float[np.ndarray, "3"]) -> np.ndarray:
    """World positions, mm."""
    world = means.double() + torch.as_tensor(origin).to(means.device)
    return np.ascontiguousarray((world / SCALE).float().cpu().numpy())


def _covariances(factors: Float[Tensor, "n 3 3"], spread: Float[Tensor, "n"]) -> np.ndarray:
    """Upper triangles of M M^T + spread, mm^2."""
    rows = factors.unbind(1)
    terms = [(rows[a] * rows[b]).sum(1) + (spread if a == b else 0) for a, b in TRIANGLE]
    return np.ascontiguousarray((torch.stack(terms, dim=1) / SCALE**2).to(torch.float16).cpu().numpy())


def _spread(opacities: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Variance (px^2) that lets even the smallest Gaussian pass the browser's test: a (BLUR + s)^2 >= LEAST_AREA."""
    needed = (LEAST_AREA / opacities.clamp(FAINTEST, 1)).sqrt() - BROWSER_BLUR
    return 1.02 * needed  # float16 rounds


def _change(
    changes: Float[Tensor, "9 n"], frames: Float[Tensor, "n 3 3"], direction: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """What a direction of view (world, unit) adds to the colors: 0.1 C F^T d."""
    local = (frames * direction[:, :, None]).sum(1)
    return DIRECTION_UNIT * (changes.view(3, 3, -1).permute(2, 0, 1) * local[:, None]).sum(2)
