"""The cameras that look at Gaussians."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from na_ray.body.upload import upload
from na_ray.capture.camera import Camera
from na_ray.models.splats import tile_kernels


@dataclass(frozen=True)
class PairRoom:
    """A fixed room for pairs (`tile_kernels`), so that drawing waits for nothing. Pairs beyond it are not drawn: who
    reads `most` draws again with more room."""

    capacity: int
    most: Int[Tensor, ""]
    """The most that were ever counted."""


@dataclass(frozen=True)
class Views:
    """k cameras and the parts of their pictures that are drawn, one size for all."""

    numbers: Float[Tensor, "k 24"]
    """As `project_kernels.project` takes them."""
    windows: Int[Tensor, "k 4"]
    """Left, top, width and height of the part, px."""
    size: tuple[int, int]
    """Height and width of the pictures' tensors: the largest part's, or more."""
    room: PairRoom | None = None
    """None: pairs are counted first, for which the host waits."""

    @staticmethod
    def of(cameras: Sequence[Camera], origin: np.ndarray, device: torch.device) -> "Views":
        """Of cameras' whole pictures, with the Gaussians' origin (world, m)."""
        size = (max(c.height for c in cameras), max(c.width for c in cameras))
        numbers = upload(view_numbers(cameras, origin), device, torch.float32)
        return Views(numbers, upload([[0, 0, c.width, c.height] for c in cameras], device, torch.int32), size)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def tiles(self) -> int:
        """Tiles of the largest part."""
        return -(-self.size[0] // tile_kernels.TILE) * -(-self.size[1] // tile_kernels.TILE)


def view_numbers(cameras: Sequence[Camera], origin: np.ndarray) -> Float[np.ndarray, "k 24"]:
    """What `project_kernels.project` takes of cameras, with the Gaussians' origin (world, m)."""
    return np.stack([_numbers(camera, np.asarray(origin, np.float64)) for camera in cameras])


def _numbers(camera: Camera, origin: np.ndarray) -> np.ndarray:
    rotation = camera.T_world_camera[:3, :3].T
    center = camera.center - origin
    K = camera.K
    ends = [-0.5, camera.width - 0.5, -0.5, camera.height - 0.5]
    focal = [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]]
    return np.concatenate([rotation.reshape(-1), -rotation @ center, focal, center, ends])
