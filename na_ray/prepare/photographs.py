"""The photographs and silhouettes of some cameras of one split, frame by frame."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from na_ray.body.body import Body, PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.masks import Masks
from na_ray.capture.rig import Pose
from na_ray.config.values import UserError

LOOKS = 6
"""Frames of which silhouettes are looked at before hours go into maps."""


@dataclass(frozen=True, eq=False)
class FilmedFrame:
    """What the cameras took of one frame."""

    position: int
    images: Sequence[UInt8[np.ndarray, "_ _ _"]]
    masks: Sequence[Bool[np.ndarray, "_ _"]] | None
    """Silhouettes; None where nobody says which pixels are the person's."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """Some cameras (positions) of a split."""

    split: Split
    chosen: Sequence[int]
    files: Masks | None
    """`masks/` of the capture; without it the alpha of RGBA pictures tells."""
    poses: Sequence[Pose] | None = None
    """One a frame, in place of the split's."""

    @classmethod
    def of(cls, capture: Capture, split: Split, chosen: Sequence[int]) -> "Photographs":
        """Those of a split, with the capture's silhouettes where it has some."""
        return cls(split, chosen, Masks.of(capture, split))

    @property
    def cameras(self) -> list[Camera]:
        """The calibrated cameras."""
        return [self.split.cameras[c] for c in self.chosen]

    def frames(self, positions: Sequence[int]) -> Iterator[FilmedFrame]:
        """The frames at ascending positions; those in a row are decoded in one go. Raises UserError in one line."""
        for _, group in itertools.groupby(enumerate(positions), lambda pair: pair[1] - pair[0]):
            row = [position for _, position in group]
            streams = [self.split.images(camera, row[0], row[-1] + 1) for camera in self.chosen]
            for position, *images in zip(row, *streams, strict=True):
                yield FilmedFrame(position, images, self._masks(position, images))

    def pose(self, position: int) -> Pose:
        """The pose of a frame."""
        return self.split.pose(position) if self.poses is None else self.poses[position]

    def posed(self, body: Body, position: int) -> PosedBody:
        """The body at a frame. Raises UserError, naming the frame."""
        try:
            return body.pose(self.pose(position))
        except UserError as error:
            raise UserError(f"{self.split.files.folder}: frame {self.split.frames[position]}: {error}") from None

    def some(self, count: int) -> list[int]:
        """Positions of that many frames at most, evenly spaced from the first to the last."""
        return sorted({int(p) for p in np.linspace(0, self.split.num_frames - 1, count).round()})

    def _masks(self, position: int, images: Sequence[UInt8[np.ndarray, "_ _ _"]]) -> list[np.ndarray] | None:
        if self.files is not None:
            return [self._mask(position, c, image) for c, image in zip(self.chosen, images, strict=True)]
        if all(image.shape[2] == 4 for image in images):
            return [image[..., 3] > 127 for image in images]
        return None

    def check_masks(self) -> None:
        """Raise UserError where the silhouettes show nobody at all: no texel would be seen."""
        if self.files is None or any(self.files.mask(p, c).any() for p in self.some(LOOKS) for c in self.chosen):
            return
        found = f"black in all of {len(self.some(LOOKS))} frames and {len(self.chosen)} cameras"
        path = self.files.path(0, self.chosen[0])
        raise UserError(f"{path}: the silhouettes are {found}: make them again, or remove masks/")

    def _mask(self, position: int, camera: int, image: UInt8[np.ndarray, "h w c"]) -> Bool[np.ndarray, "h w"]:
        assert self.files is not None
        mask = self.files.mask(position, camera)
        if mask.shape != image.shape[:2]:
            path, expected = self.files.path(position, camera), f"{image.shape[1]}x{image.shape[0]}"
            raise UserError(
                f"{path} is {mask.shape[1]}x{mask.shape[0]}; expected {expected}, as the photograph: resize it"
            )
        return mask

    def outline(self) -> str:
        """What keeps the background out of the maps."""
        if self.files is not None:
            return "the background was kept out by masks/"
        if self.split.image(0, self.chosen[0]).shape[2] == 4:
            return "the background was kept out by the alpha of the pictures"
        return "there are no masks/ and no alpha: the background may color texels at the outline"
