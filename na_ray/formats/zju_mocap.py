"""ZJU-MoCap's folders, as neuralbody reads them: `annots.npy`, and the tracked person, an `.npy` a frame.

x_camera = R x_world + T / 1000: the cameras are placed in millimetres, the body in metres. The body's formula is
EasyMocap's. All these files are pickles; they are read by an allow-list.
"""

import posixpath
from dataclasses import dataclass
from typing import Any

import numpy as np

from na_ray.capture.layout import by_number
from na_ray.capture.storage import join, listing
from na_ray.config.values import UserError
from na_ray.formats.arrays import read_npy
from na_ray.formats.calibrated import CalibratedCamera, calibrated, printable
from na_ray.formats.easymocap import LENGTHS, Person

CALIBRATION = "annots.npy"
MILLIMETRES = 1e-3
"""Metres a unit of T."""
LARGEST = 2**28
"""Bytes: 1,400 frames of 23 cameras, with their key points, have 2**24."""


@dataclass(frozen=True)
class Annotations:
    """What `annots.npy` says."""

    cameras: tuple[CalibratedCamera, ...]
    """In its order, named after the folders of their pictures; metres."""
    pictures: tuple[tuple[str, ...], ...]
    """Path of each camera's picture within the sequence, frame by frame; empty where the file lists none."""


def read_annotations(path: str) -> Annotations:
    """Cameras and pictures of an `annots.npy`. Raises UserError, one line."""
    values = read_npy(path, LARGEST)
    expected = "expected ZJU-MoCap's {'cams': {K, R, T, D}, 'ims': [...]}: copy it again"
    if not isinstance(values, dict) or not isinstance(values.get("cams"), dict):
        raise UserError(f"{path}: no cameras; {expected}")
    cams = values["cams"]
    columns = {key: _column(cams, key, path) for key in ("K", "R", "T", "D")}
    counts = {key: len(column) for key, column in columns.items()}
    if len(set(counts.values())) > 1 or not counts["K"]:
        told = ", ".join(f"{n} of {key}" for key, n in counts.items())
        raise UserError(f"{path}: cams holds {told}; expected as many of each: copy it again")
    pictures = _pictures(values.get("ims", []), counts["K"], path)
    names = _names(pictures[0] if pictures else (), counts["K"])
    cameras = []
    for i, name in enumerate(names):
        K, R, T, D = (_array(columns[key][i], f"{path}, camera {name}", key) for key in ("K", "R", "T", "D"))
        cameras.append(calibrated(f"{path}, camera {name}", name, K, D, R, T.reshape(-1) * MILLIMETRES))
    return Annotations(tuple(cameras), pictures)


def _column(cams: dict[str, Any], key: str, path: str) -> list[Any]:
    if key == "D" and key not in cams:
        return [np.zeros(5)] * len(_column(cams, "K", path))
    value = cams.get(key)
    if not isinstance(value, list | tuple | np.ndarray):
        raise UserError(f"{path}: cams has no list {key}; it has {printable(', '.join(map(str, cams)))}: copy it again")
    return list(value)


def _array(value: Any, where: str, key: str) -> np.ndarray:
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {key} is no array of numbers: copy the file again") from None


def _pictures(frames: Any, count: int, path: str) -> tuple[tuple[str, ...], ...]:
    found: list[tuple[str, ...]] = []
    if not isinstance(frames, list | tuple | np.ndarray):
        raise UserError(f"{path}: ims is no list of frames: copy the file again")
    for i, frame in enumerate(frames):
        names = frame.get("ims") if isinstance(frame, dict) else frame
        if isinstance(names, np.ndarray):
            names = names.tolist()
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: ims[{i}] is no list of pictures; expected one a camera: copy the file again")
        if len(names) != count:
            raise UserError(f"{path}: ims[{i}] lists {len(names)} pictures for {count} cameras: copy the file again")
        found.append(tuple(_inside(name, path) for name in names))
    return tuple(found)


def _inside(name: str, path: str) -> str:
    """A path within the sequence, with our slashes. Raises UserError for one that leaves it."""
    clean = posixpath.normpath(name.replace("\\", "/"))
    if clean.startswith(("/", "..")) or clean[1:2] == ":":
        raise UserError(f"{path}: the picture {name[:60]!r} lies outside of the sequence: copy the file again")
    return clean


def _names(first: tuple[str, ...], count: int) -> list[str]:
    """Names of the cameras: the folders of their pictures, if each has one of its own."""
    folders = [printable(posixpath.basename(posixpath.dirname(name))) for name in first]
    sound = len(folders) == count and len(set(folders)) == count and all(folders)
    return folders if sound else [str(i) for i in range(count)]


def read_params(folder: str) -> dict[int, Person]:
    """Frame number to the tracked person, of `new_params/` or `params/`. Raises UserError."""
    files = by_number(folder, listing(folder), (".npy",))
    if not files:
        raise UserError(f"{folder}: no files such as 0.npy; expected one a frame: check the path")
    return {number: _person(join(folder, name)) for number, name in files.items()}


def _person(path: str) -> Person:
    values = read_npy(path, 2**24)
    if not isinstance(values, dict):
        raise UserError(f"{path}: no parameters; expected a dict of poses, Rh, Th and shapes: copy it again")
    Rh, Th, poses = (_row(values, key, path) for key in ("Rh", "Th", "poses"))
    shapes = _row(values, "shapes", path) if "shapes" in values else np.zeros(10)
    for key, row, lengths in (("Rh", Rh, (3,)), ("Th", Th, (3,)), ("poses", poses, LENGTHS)):
        if len(row) not in lengths and not (key == "Rh" and len(row) == 9):
            expected = lengths[0] if len(lengths) == 1 else f"one of {lengths}"
            raise UserError(f"{path}: {key} holds {len(row)} numbers; expected {expected}: copy it again")
    if len(Rh) == 9:
        raise UserError(f"{path}: Rh is a 3x3 matrix; expected axis-angle, three numbers: convert it (cv2.Rodrigues)")
    return Person(Rh, Th, poses, shapes)


def _row(values: dict[Any, Any], key: str, path: str) -> np.ndarray:
    if key not in values:
        raise UserError(f"{path}: {key} is missing; it has {printable(', '.join(map(str, values)))}: copy it again")
    row = _array(values[key], path, key).reshape(-1)
    if not np.isfinite(row).all():
        raise UserError(f"{path}: {key} holds numbers that are not finite: track again")
    return row
