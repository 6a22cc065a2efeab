"""Masks of other programs: pictures beside those of a camera, or a video. What their numbers mean is told by what they
are: labels of parts (small numbers, 0 is the background), an outline (two values) or a soft matte (0..255)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt8

from na_ray.capture import video
from na_ray.capture.image import read_levels
from na_ray.capture.layout import VIDEOS
from na_ray.capture.storage import join
from na_ray.config.values import UserError
from na_ray.convert.clips import CameraClip, decoded, numbers_of, pictures_of

# No more masks than these are looked at to tell what their numbers mean.
SAMPLES = 12
HIGHEST_LABEL = 60
MOST_LABELS = 24
# Lossy coding moves 0 and 255 by so much.
LOSSY_LOW, LOSSY_HIGH = 16, 239

Meaning = Literal["parts", "outline", "soft"]


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """The masks of one camera."""

    clip: CameraClip
    path: str
    names: Mapping[int, str]
    """File of each position; empty for a video."""
    meaning: Meaning
    line: str
    """What was found, for the user."""

    def alphas(self, positions: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w"]]:
        """How much of each pixel the person covers, 0..255, at ascending positions."""
        for position, levels in zip(positions, _levels(self.path, self.names, positions), strict=True):
            _check_size(self.clip, _where(self.path, self.names, position), levels)
            yield _alpha(levels, self.meaning, self.path, self.names)


def open_masks(clip: CameraClip, positions: Sequence[int]) -> MaskFiles:
    """Look at some masks of the positions. Raises UserError for ones that are missing, empty, inverted or misfit."""
    if clip.masks is None:
        raise UserError(f"camera {clip.name} has no masks: add them, or name another kind of matte")
    names: dict[int, str] = {}
    if clip.masks.lower().endswith(VIDEOS):
        if (count := video.count(clip.masks)) <= max(positions):
            raise UserError(
                f"{clip.masks}: {count} masks; expected {max(positions) + 1}, one for each frame: make them"
            )
    else:
        names = _match(clip, clip.masks, positions)
    found = _sample(clip, clip.masks, names, spread(positions, SAMPLES))
    # Where these are black, somebody may come in between.
    found = found or _sample(clip, clip.masks, names, positions)
    if not found:
        raise UserError(f"{clip.masks}: the masks are black; expected the person in them: make them again")
    meaning, line = _meaning(clip.masks, found, _is_lossy(names))
    _check_outlines(clip.masks, [_alpha(levels, meaning, clip.masks, names) > 127 for levels in found])
    return MaskFiles(clip, clip.masks, names, meaning, line)


def _sample(
    clip: CameraClip, path: str, names: Mapping[int, str], positions: Sequence[int]
) -> list[UInt8[np.ndarray, "h w"]]:
    """The numbers of some masks that are not black."""
    found = []
    for position, levels in zip(positions, _levels(path, names, positions), strict=True):
        _check_size(clip, _where(path, names, position), levels)
        if levels.max() > (LOSSY_LOW if _is_lossy(names) else 0):
            found.append(levels)
        if len(found) == SAMPLES:
            break
    return found


def spread(positions: Sequence[int], most: int) -> list[int]:
    """At most so many of them, evenly spread, the first and the last among them."""
    return [positions[i] for i in np.unique(np.linspace(0, len(positions) - 1, most).round().astype(int))]


def _levels(path: str, names: Mapping[int, str], positions: Sequence[int]) -> Iterator[UInt8[np.ndarray, "h w"]]:
    if names:
        return (read_levels(join(path, names[position])) for position in positions)
    return (np.ascontiguousarray(image[..., 1]) for image in decoded(path, positions))


def _where(path: str, names: Mapping[int, str], position: int) -> str:
    return join(path, names[position]) if names else path


def _match(clip: CameraClip, folder: str, positions: Sequence[int]) -> dict[int, str]:
    """The mask of each position: by the picture's name, else by its place."""
    files = pictures_of(folder)
    by_stem = {name.rsplit(".", 1)[0]: name for name in files}
    if not clip.is_video:
        pictures = {position: clip.pictures[position] for position in positions}
        stems = {position: (name.rsplit(".", 1)[0], name) for position, name in pictures.items()}
        found = {p: by_stem[stem] for p, both in stems.items() for stem in both if stem in by_stem}
        missing = [pictures[position] for position in positions if position not in found]
        if found and missing:
            what = f"{len(missing)} of {len(positions)} pictures have no mask there, the first is {missing[0]}"
            raise UserError(f"{folder}: {what}: make them, or leave these frames out")
        if found:
            return found
    numbers = numbers_of(folder, files)
    gap = next((i for i in range(1, len(numbers)) if numbers[i] - numbers[i - 1] > 1), None)
    if gap is not None:
        raise UserError(f"{folder}: {files[gap]} follows {files[gap - 1]}: expected a mask of every frame: make them")
    starts = (0, 1) if clip.is_video else numbers_of(clip.path, clip.pictures)[:1]
    if numbers and len(files) != clip.frames and numbers[0] not in starts:
        what = f"{len(files)} masks, from {files[0]}, of {clip.frames} frames"
        raise UserError(f"{folder}: {what}: nothing says which is whose; expected a mask of every frame: make them")
    if len(files) <= max(positions):
        raise UserError(f"{folder}: {len(files)} masks; expected {max(positions) + 1}, one for each frame: make them")
    return {position: files[position] for position in positions}


def _check_size(clip: CameraClip, path: str, levels: UInt8[np.ndarray, "h w"]) -> None:
    if levels.shape != clip.size:
        found, size = f"{levels.shape[1]}x{levels.shape[0]}", f"{clip.size[1]}x{clip.size[0]}"
        raise UserError(f"{path} is {found}; expected {size}, as camera {clip.name}'s pictures: resize the masks")


def _is_lossy(names: Mapping[int, str]) -> bool:
    """Whether numbers may have been moved by coding."""
    return not names or next(iter(names.values())).lower().endswith((".jpg", ".jpeg"))


def _meaning(path: str, masks: Sequence[UInt8[np.ndarray, "h w"]], lossy: bool) -> tuple[Meaning, str]:
    histogram = np.sum([np.bincount(levels.ravel(), minlength=256) for levels in masks], axis=0)
    values = np.flatnonzero(histogram[1:]) + 1
    highest = int(values[-1])
    if lossy:
        if highest <= HIGHEST_LABEL:
            found = f"numbers up to {highest}, labels it seems, which lossy coding mixes up"
            raise UserError(f"{path}: the masks hold {found}; expected PNG files: write them so")
        return "soft", "its masks are soft mattes, lossily coded"
    if len(values) == 1:
        return "outline", f"its masks are outlines (0 and {highest})"
    solid = histogram[highest] > histogram[1:].sum() / 2
    if highest <= HIGHEST_LABEL or (len(values) <= MOST_LABELS and not solid):
        return "parts", f"its masks are of parts ({len(values)} labels up to {highest}): all but 0 are the person"
    return "soft", f"its masks are soft mattes (values up to {highest})"


def _alpha(
    levels: UInt8[np.ndarray, "h w"], meaning: Meaning, path: str, names: Mapping[int, str]
) -> UInt8[np.ndarray, "h w"]:
    if meaning != "soft":
        return np.where(levels > 0, np.uint8(255), np.uint8(0))
    if not _is_lossy(names):
        return levels
    table = np.interp(np.arange(256), [LOSSY_LOW, LOSSY_HIGH], [0, 255]).round().astype(np.uint8)
    return table[levels]


def _check_outlines(path: str, outlines: Sequence[Bool[np.ndarray, "h w"]]) -> None:
    """Refuse masks of the background in place of the person."""
    border = [float(np.concatenate([o[0], o[-1], o[:, 0], o[:, -1]]).mean()) for o in outlines]
    shares = [float(o.mean()) for o in outlines]
    inverted = [b > 0.5 and s > 0.5 for b, s in zip(border, shares, strict=True)]
    if sum(inverted) * 2 > len(outlines):
        found = f"in {sum(inverted)} of {len(outlines)} masks, and most of its border"
        todo = "they look inverted; expected 0 on the background: invert them (ImageMagick: -negate)"
        raise UserError(f"{path}: the person covers {100 * np.mean(shares):.0f} % of the picture {found}: {todo}")
