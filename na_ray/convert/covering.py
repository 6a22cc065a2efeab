"""One camera's pictures with their mattes, in lockstep, before its lens is undone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from na_ray.capture.image import read_image
from na_ray.capture.layout import IMAGES
from na_ray.capture.naming import number_of
from na_ray.capture.storage import join, listing
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip
from na_ray.convert.keying import ColorKey, PlateKey
from na_ray.convert.mask_files import MaskFiles, open_masks, spread
from na_ray.convert.matte import ChromaMatte, MaskMatte, Matte, PlateMatte

# Pictures that are looked at before a key is made.
LOOKS = 6

Covered = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"] | None]
"""A picture, and how much of each pixel the person covers, 0..255; None: nobody says."""


@dataclass(frozen=True, eq=False)
class CoveredClip:
    """A camera's pictures, and what tells the person from the background."""

    clip: CameraClip
    means: MaskFiles | ColorKey | PlateKey | None
    """None: the alpha of the pictures, where they have one."""
    line: str
    """What was found, for the user; empty where there is nothing to say."""

    def pairs(self, positions: Sequence[int]) -> Iterator[Covered]:
        """Pictures and mattes at ascending positions, one at a time."""
        images = self.clip.images(positions)
        if isinstance(self.means, MaskFiles):
            alphas = self.means.alphas(positions)
            yield from ((image[..., :3], alpha) for image, alpha in zip(images, alphas, strict=True))
        elif self.means is None:
            yield from ((image[..., :3], image[..., 3] if image.shape[2] == 4 else None) for image in images)
        else:
            for image in images:
                yield self.means.matte(image[..., :3])


def open_covered(clip: CameraClip, matte: Matte | None, positions: Sequence[int]) -> CoveredClip:
    """Look at some of the camera's pictures and masks. Raises UserError where they do not fit, in one line."""
    if isinstance(matte, MaskMatte):
        masks = open_masks(clip, positions)
        return CoveredClip(clip, masks, masks.line)
    if matte is None:
        return CoveredClip(clip, None, "")
    samples = [image[..., :3] for image in clip.images(spread(positions, LOOKS))]
    if isinstance(matte, ChromaMatte):
        key = ColorKey(matte.color, samples, f"camera {clip.name}")
        return CoveredClip(clip, key, f"its backdrop is {key.name}, {100 * key.even:.0f} % of the borders")
    path = plate_of(clip, matte)
    plate = read_image(path)[..., :3]
    if plate.shape[:2] != clip.size:
        found, size = f"{plate.shape[1]}x{plate.shape[0]}", f"{clip.size[1]}x{clip.size[0]}"
        raise UserError(f"{path} is {found}; expected {size}, as camera {clip.name}'s pictures: take it with them")
    return CoveredClip(clip, PlateKey(plate, samples, path), "the person is what differs from its clean plate")


def plate_of(clip: CameraClip, matte: PlateMatte) -> str:
    """A camera's picture of the empty room: by its name, else by its number. Raises UserError where it is missing."""
    names = [name for name in listing(matte.folder) if name.lower().endswith(IMAGES)]
    stems = {name.rsplit(".", 1)[0]: name for name in names}
    numbers = {number_of(name): name for name in names}
    own = number_of(f"{clip.name}.")
    if clip.name in stems:
        return join(matte.folder, stems[clip.name])
    if own is not None and own in numbers and len(numbers) == len(names):
        return join(matte.folder, numbers[own])
    raise UserError(f"{matte.folder}: no plate of camera {clip.name}; expected {clip.name}.png or .jpg: add it")
