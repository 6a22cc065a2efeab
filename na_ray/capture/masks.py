"""Silhouettes of a split, where the capture has them: `masks/<split>/CCC/FFFFFF.png`, nonzero where the person is."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool

from na_ray.capture.dataset import Capture, Split
from na_ray.capture.image import read_mask
from na_ray.capture.layout import IMAGES
from na_ray.capture.naming import by_number, number_of
from na_ray.capture.storage import join, listing


@dataclass(frozen=True, eq=False)
class Masks:
    """The silhouettes of one split: folders go by the camera's number, files by the frame's."""

    folder: str
    split: Split
    _files: dict[int, dict[int, str]] = field(default_factory=dict, init=False, repr=False)
    """Frame number to path, by camera (position); filled as cameras are asked for."""

    @classmethod
    def of(cls, capture: Capture, split: Split) -> "Masks | None":
        """Those of a split; None where the capture has none."""
        folder = join(capture.path, "masks", split.name)
        return cls(folder, split) if listing(folder) else None

    def path(self, position: int, camera: int) -> str:
        """The file of a frame and a camera (positions in the split). Raises FileNotFoundError where it is missing."""
        if camera not in self._files:
            folder = self._camera_folder(camera)
            found = by_number(folder, listing(folder), IMAGES)
            self._files[camera] = {number: join(folder, name) for number, name in found.items()}
        wanted = self.split.frames[position]
        if wanted not in self._files[camera]:
            raise FileNotFoundError(
                f"{self._camera_folder(camera)}: no mask of frame {wanted}: copy it there, or remove masks/"
            )
        return self._files[camera][wanted]

    def _camera_folder(self, camera: int) -> str:
        name = self.split.camera_files[camera].name
        folders = {number_of(folder): folder for folder in listing(self.folder)}
        return join(self.folder, folders.get(number_of(name), name))

    def mask(self, position: int, camera: int) -> Bool[np.ndarray, "h w"]:
        """Where the person is in a camera's picture."""
        return read_mask(self.path(position, camera))
