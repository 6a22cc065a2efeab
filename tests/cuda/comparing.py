"""What the checks of a device share: numbers and cameras that are the same everywhere, and when results are close."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from na_ray.capture.camera import Camera


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed numbers, the same on every device: drawn on the CPU."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def camera() -> Camera:
    """Of 96 x 64 pixels, at the origin."""
    return Camera("c", np.array([[150.0, 0, 47.5], [0, 150.0, 31.5], [0, 0, 1]]), np.eye(4), 64, 96)


def beside() -> Camera:
    """The other view, a little to the right."""
    T = np.eye(4)
    T[0, 3] = 0.3
    return replace(camera(), T_world_camera=T)


def close(name: str, found: Tensor, expected: Tensor, tolerance: float, share: float = 1.0) -> None:
    """At least this share of the values agree: ties and edges may fall the other way."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    assert found.shape == expected.shape, f"{name}: {tuple(found.shape)} beside {tuple(expected.shape)}"
    error = (found - expected).abs()
    right = float((error <= tolerance * (1 + expected.abs())).double().mean())
    assert right >= share, f"{name}: {right:.1%} within {tolerance:g}, at most {float(error.max()):.3g} apart"
