"""The joints that were found in the pictures, as a capture keeps them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from na_ray.capture.keypoints import Keypoints
from na_ray.capture.storage import join, listing
from na_ray.formats.body25 import SMPL_NAMES, Detected, read_keypoints

FOLDERS = ("keypoints3d", "output/keypoints3d", "output/keypoints3d/keypoints3d")
"""Where EasyMocap's versions leave them."""
SURE = 0.3
"""Least confidence of a joint that is believed."""


def find_keypoints(root: str) -> dict[int, dict[str, Detected]]:
    """Those of an EasyMocap folder, by frame number and person; empty where there are none. Raises UserError."""
    for folder in (join(root, *name.split("/")) for name in FOLDERS):
        if any(name.endswith(".json") for name in listing(folder)):
            return read_keypoints(folder)
    return {}


def in_step(
    found: Mapping[int, Mapping[str, Detected]], poses: Iterable[int]
) -> tuple[Mapping[int, Mapping[str, Detected]], list[str]]:
    """(the same by the poses' frame numbers, lines for the user): some programs count joints from 1 and poses from 0.

    Joints are renumbered only where poses lack some as they are, and lack none with both in their order.
    """
    wanted = set(poses)
    shift = min(found, default=0) - min(wanted, default=0)
    if wanted <= set(found) or not {number + shift for number in wanted} <= set(found):
        return found, []
    ranges = f"keypoints3d are numbered {min(found)} to {max(found)}, poses {min(wanted)} to {max(wanted)}"
    moved = {number - shift: people for number, people in found.items()}
    return moved, [f"{ranges}: the first is taken for the first"]


def keypoints_of(
    found: Mapping[int, Mapping[str, Detected]],
    person: str,
    splits: Mapping[str, Sequence[int]],
    names: Sequence[str],
    unit: float,
) -> Keypoints | None:
    """The joints of one person by split (frame numbers), `unit` metres each; None where there are none, or the body
    has no joints of these names."""
    if not any(person in people for people in found.values()) or not set(SMPL_NAMES) <= set(names):
        return None
    nowhere = np.full((len(SMPL_NAMES), 4), np.nan)

    def points(number: int) -> np.ndarray:
        joints = found.get(number, {}).get(person, nowhere)
        sure = np.isfinite(joints).all(axis=1) & (joints[:, 3] >= SURE)
        return np.where(sure[:, None], joints[:, :3] * unit, np.nan)

    return Keypoints(
        tuple(SMPL_NAMES),
        {split: np.stack([points(n) for n in numbers]) for split, numbers in splits.items() if numbers},
    )
