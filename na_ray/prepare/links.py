"""A capture that links to the files of another, in folders of its own: what is written there reaches no old file."""

import os
from collections.abc import Callable
from pathlib import Path

from na_ray.capture.dataset import Capture
from na_ray.capture.layout import BODY_FILES, CAMERA_TO_WORLD, INTRINSICS, WORLD_TO_CAMERA
from na_ray.capture.storage import listing


def link_capture(capture: Capture, out: Path, skip: Callable[[str, str], bool]) -> None:
    """Link body, calibration, masks and splits, but for what of a split to `skip`: (folder, name). Links that are there
    stay.

    Nothing else that lies beside a capture is linked. Raises FileExistsError where a link leads elsewhere.
    """
    calibration = (*INTRINSICS, *WORLD_TO_CAMERA, *CAMERA_TO_WORLD)
    shared = {*BODY_FILES, *calibration, *(f"{name}.txt" for name in INTRINSICS), "masks"}
    for name in listing(capture.path):
        if name in shared:
            _link(Path(capture.path) / name, out / name)
    for split, folder in capture.folders.items():
        for name in listing(folder):
            if not skip(folder, name):
                _link(Path(folder) / name, out / split / name)


def _link(old: Path, new: Path) -> None:
    """Link a file; of a folder, make one with links to its files, so that new files in it stay the new capture's."""
    if old.is_dir():
        for name in listing(str(old)):
            _link(old / name, new / name)
    elif not os.path.lexists(new):
        new.parent.mkdir(parents=True, exist_ok=True)
        # Relative, so that both captures may be moved together.
        os.symlink(os.path.relpath(old.resolve(), new.parent.resolve()), new)
    elif new.is_symlink() and new.resolve() != old.resolve():
        raise FileExistsError(f"{new} links to {new.resolve()}, not to {old}: name another folder")
