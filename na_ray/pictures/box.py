"""Rectangles of pixels: the one around a mask, and the one around a body."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from na_ray.capture.camera import Camera

AnyPicture = TypeVar("AnyPicture", Tensor, np.ndarray)


@dataclass(frozen=True)
class Box:
    """Rectangle of pixels: rows top..bottom and columns left..right, the ends exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    def crop(self, image: AnyPicture) -> AnyPicture:
        """The part of an (h, w, ...) tensor or array inside the box, as a view."""
        return image[self.top : self.bottom, self.left : self.right]

    def scaled(self, rows: float, columns: float) -> "Box":
        """The box in a picture `rows` and `columns` times as large: every pixel that it touches."""
        top, left = int(self.top * rows), int(self.left * columns)
        return Box(top, left, -int(-self.bottom * rows // 1), -int(-self.right * columns // 1))


def mask_box(mask: Tensor) -> Box | None:
    """Bounding box of the nonzero pixels of an (h, w) mask; None when there are none."""
    rows, columns = torch.where(mask > 0)
    if not len(rows):
        return None
    return Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)


def sphere_box(points: np.ndarray, camera: Camera, radius: float) -> Box | None:
    """Bounding box in the picture of the spheres of `radius` (m) around world points (n, 3); None when it is outside.

    The picture of a sphere at (x, z) in the plane y = 0 spans (x z -+ r sqrt(x^2 + z^2 - r^2)) / (z^2 - r^2). Skewed
    pixels add their share of the rows that it spans.
    """
    local = (points - camera.center) @ camera.T_world_camera[:3, :3]
    local = local[local[:, 2] > 2 * radius]
    if not len(local):
        return None
    z = local[:, 2]
    edges, skewed = [], np.zeros((2, 1))
    for axis in (1, 0):
        x = local[:, axis]
        spread = radius * np.sqrt(x**2 + z**2 - radius**2)
        slopes = (np.array([x * z - spread, x * z + spread]) / (z**2 - radius**2)) * camera.K[axis, axis]
        limit = (camera.width, camera.height)[axis]
        spans = slopes + skewed
        low, high = spans.min() + camera.K[axis, 2], spans.max() + camera.K[axis, 2]
        skewed = np.sort(slopes * camera.K[0, 1] / camera.K[1, 1], axis=0)
        edges.append((max(0, int(np.ceil(low))), min(limit, int(np.floor(high)) + 1)))
    (top, bottom), (left, right) = edges
    return Box(top, left, bottom, right) if top < bottom and left < right else None
