"""Joints that were found in the pictures of a capture, whatever body was then tracked: `keypoints.npz`, which
`na-ray convert` keeps where the sequence has some. They tell how far a track is off.

Symbols: F frames of a split, K joints.
"""

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from na_ray.capture.storage import join, listing, read_bytes
from na_ray.config.values import UserError

FILE = "keypoints.npz"

SplitKeypoints = Float64[np.ndarray, "f k 3"]


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Joints by split."""

    names: tuple[str, ...]
    """As the capture's skeleton names them."""
    splits: Mapping[str, SplitKeypoints]
    """Split to where the joints are, m, in the world; not a number where one was not found."""

    def write(self, root: str) -> None:
        """Write `keypoints.npz`: `names`, and one array a split."""
        arrays = {name: points.astype(np.float32) for name, points in self.splits.items()}
        np.savez(os.path.join(root, FILE), names=np.array(self.names), **arrays)  # type: ignore[arg-type]

    @classmethod
    def find(cls, root: str) -> "Keypoints | None":
        """Those of a capture; None where it has none. Raises UserError, one line, for a damaged file."""
        if FILE not in listing(root):
            return None
        path = join(root, FILE)
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
                names = tuple(str(name) for name in arrays["names"])
                splits = {key: arrays[key].astype(np.float64) for key in arrays.files if key != "names"}
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is no file of keypoints ({error}): convert again, or remove it") from None
        wrong = next((key for key, points in splits.items() if points.shape[1:] != (len(names), 3)), None)
        if wrong is not None:
            found = f"{wrong} is {splits[wrong].shape}; expected (frames, {len(names)}, 3)"
            raise UserError(f"{path}: {found}: convert again, or remove it")
        return cls(names, splits)
