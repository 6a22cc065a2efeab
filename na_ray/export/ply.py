"""3D Gaussians in the .ply that splat viewers open (Kerbl et al. 2023): one pose, in world axes, metres.

A vertex is a Gaussian: its center, spherical harmonics of its color (`f_dc_*`; `f_rest_*` by channel, of degree 1,
which holds our change of color with the direction exactly), the logit of its opacity, the logarithms of its standard
deviations (m), and the quaternion (w, x, y, z) of their axes. Binary, little-endian.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from na_ray.models.gaussians import Gaussians

C0 = 0.28209479177387814
C1 = 0.4886025119029199
"""The constants of the real spherical harmonics of degrees 0 and 1."""
DIRECTION_UNIT = 0.1
"""One raw unit of a color's change with the direction of view (`project_kernels`)."""
LEAST_OPACITY = 1 / 255
"""What is fainter is left out: no pixel shows it."""
THINNEST = 1e-6
"""Standard deviations (m) are no smaller: a logarithm stands for each."""
NAMES = (
    *("x", "y", "z", "nx", "ny", "nz"),
    *(f"f_dc_{i}" for i in range(3)),
    *(f"f_rest_{i}" for i in range(9)),
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
)


def write_ply(path: Path, gaussians: Gaussians, origin: Float[np.ndarray, "3"]) -> int:
    """Write the Gaussians of a frame, which lie around `origin` (world, m). Returns how many were written."""
    seen = gaussians.opacities >= LEAST_OPACITY
    centers = gaussians.means[seen].double() + torch.as_tensor(origin, dtype=torch.float64, device=seen.device)
    scales, quaternions = axes_of(gaussians.factors[seen])
    opacities = gaussians.opacities[seen].double().clamp(max=1 - 1e-6)
    # color(d) = colors + 0.1 C F^T d for the world direction d; harmonics of degree 1 are -y, z, -x.
    changes = gaussians.changes.view(3, 3, -1).permute(2, 0, 1)[seen].double()
    slopes = DIRECTION_UNIT * changes @ gaussians.frames[seen].double().mT
    rest = torch.stack([-slopes[..., 1], slopes[..., 2], -slopes[..., 0]], dim=2) / C1
    columns = [
        centers,
        torch.zeros_like(centers),
        (gaussians.colors[seen].double() - 0.5) / C0,
        rest.flatten(1),
        torch.logit(opacities)[:, None],
        scales.log(),
        quaternions,
    ]
    table = torch.cat(columns, dim=1).detach().to(torch.float32).cpu().numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    header += [f"property float {name}" for name in NAMES]
    path.write_bytes("\n".join([*header, "end_header\n"]).encode() + table.tobytes())
    return len(table)


def axes_of(factors: Float[Tensor, "n 3 3"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
    """Standard deviations (m), largest first, and the rotation of their axes (w, x, y, z) of covariances M M^T."""
    stored = factors.detach().double().cpu().numpy()
    # Ten times as fast as a singular value decomposition, and as good for ratios that a float32 holds.
    variances, axes = np.linalg.eigh(stored @ stored.swapaxes(1, 2))
    variances, axes = variances[:, ::-1], np.ascontiguousarray(axes[..., ::-1])
    axes[..., 2] *= np.linalg.det(axes)[:, None]
    quaternions = Rotation.from_matrix(axes).as_quat(canonical=True, scalar_first=True)
    scales = np.sqrt(variances.clip(min=THINNEST**2))
    return torch.as_tensor(scales, device=factors.device), torch.as_tensor(quaternions, device=factors.device)
