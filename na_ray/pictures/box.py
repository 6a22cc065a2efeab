"""Rectangles of pixels, and the one around a mask."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

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
