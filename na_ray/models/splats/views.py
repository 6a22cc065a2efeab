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
from na_ray.pictures.box import Box


@dataclass(frozen=True)
class Views:
    """k cameras and the parts of their pictures that are drawn, one size for all."""

    numbers: Float[Tensor, "k 24"]
    """As `project_kernels.project` takes them."""
    windows: Int[Tensor, "k 4"]
    """Left, top, width and height of the part, px."""
    size: tuple[int, int]
    """Height and width of the pictures' tensors: the largest part's."""

    @staticmethod
    def of(
        cameras: Sequence[Camera],
        origin: np.ndarray,
        device: torch.device,
        windows: Sequence[Box] | None = None,
    ) -> "Views":
        """Of cameras, with the Gaussians' origin (world, m). `windows`: parts of their pictures; None: all of them."""
        boxes = windows or [Box(0, 0, c.height, c.width) for c in cameras]
        rows = [_numbers(camera, np.asarray(origin, np.float64)) for camera in cameras]
        places = [[b.left, b.top, b.right - b.left, b.bottom - b.top] for b in boxes]
        size = (max(p[3] for p in places), max(p[2] for p in places))
        return Views(upload(np.stack(rows), device, torch.float32), upload(places, device, torch.int32), size)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def tiles(self) -> int:
        """Tiles of the largest part."""
        return -(-self.size[0] // tile_kernels.TILE) * -(-self.size[1] // tile_kernels.TILE)


def _numbers(camera: Camera, origin: np.ndarray) -> np.ndarray:
    rotation = camera.T_world_camera[:3, :3].T
    center = camera.center - origin
    K = camera.K
    ends = [-0.5, camera.width - 0.5, -0.5, camera.height - 0.5]
    focal = [K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]]
    return np.concatenate([rotation.reshape(-1), -rotation @ center, focal, center, ends])
