"""COLMAP's models: `cameras` and `images`, as text or binary.

x_camera = R(q) x_world + t. Pixel centres lie at halves there, at integers here. The unit is any, unless the model was
scaled. Models of fish eyes are refused.
"""

import math
import posixpath
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from na_ray.capture.storage import join, listing
from na_ray.config.values import UserError
from na_ray.formats.arrays import read_small
from na_ray.formats.calibrated import CalibratedCamera, calibrated, printable

MODELS = {
    0: ("SIMPLE_PINHOLE", "f cx cy"),
    1: ("PINHOLE", "fx fy cx cy"),
    2: ("SIMPLE_RADIAL", "f cx cy k1"),
    3: ("RADIAL", "f cx cy k1 k2"),
    4: ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    6: ("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
}
"""COLMAP's number of a model -> its name, and its parameters in their order."""
OTHERS = {5: "OPENCV_FISHEYE", 7: "FOV", 8: "SIMPLE_RADIAL_FISHEYE", 9: "RADIAL_FISHEYE", 10: "THIN_PRISM_FISHEYE"}
ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
LARGEST = 2**30
"""Bytes of a file."""


@dataclass(frozen=True, eq=False)
class _Intrinsics:
    """A camera without its place."""

    K: np.ndarray
    distortion: np.ndarray
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class _Placed:
    """An image: where its camera stood."""

    name: str
    camera: int
    q: np.ndarray
    """w, x, y, z."""
    t: np.ndarray


def read_model(folder: str) -> tuple[CalibratedCamera, ...]:
    """The cameras of a model's folder, named after their images. Raises UserError and FileNotFoundError."""
    names = listing(folder)
    ending = ".bin" if "cameras.bin" in names and "images.bin" in names else ".txt"
    for what in ("cameras", "images"):
        if what + ending not in names:
            raise FileNotFoundError(f"{join(folder, what + ending)}: no such file; expected COLMAP's model: export it")
    inner, outer = join(folder, "cameras" + ending), join(folder, "images" + ending)
    data = read_small(inner, LARGEST), read_small(outer, LARGEST)
    try:
        if ending == ".bin":
            cameras, placed = dict(_cameras_of(data[0], inner)), list(_images_of(data[1], outer))
        else:
            cameras = dict(_camera_lines(_text(data[0], inner), inner))
            placed = list(_image_lines(_text(data[1], outer), outer))
    except (struct.error, OverflowError):
        raise UserError(f"{folder}: cameras.bin or images.bin is cut off: export the model again") from None
    if not placed:
        raise UserError(f"{outer}: no image was placed: reconstruct again")
    called = _names([image.name for image in placed], outer)
    return tuple(_calibrated(image, called[image.name], cameras, outer) for image in placed)


def _calibrated(image: _Placed, name: str, cameras: dict[int, _Intrinsics], path: str) -> CalibratedCamera:
    where = f"{path}, {printable(image.name)}"
    if image.camera not in cameras:
        raise UserError(f"{where}: camera {image.camera} is not in the model: export it again")
    if not (np.isfinite(image.q).all() and np.linalg.norm(image.q) > 1e-9):
        raise UserError(f"{where}: the rotation {image.q.tolist()} is none: export the model again")
    known, (w, x, y, z) = cameras[image.camera], image.q
    R = Rotation.from_quat([x, y, z, w]).as_matrix()
    return calibrated(where, name, known.K, known.distortion, R, image.t, (known.width, known.height))


def _names(files: list[str], path: str) -> dict[str, str]:
    """Image to camera: its folder, if each image has one of its own (`cam_01/000000.jpg`), else its name."""
    folders = [posixpath.dirname(name.replace("\\", "/")) for name in files]
    stems = [posixpath.splitext(posixpath.basename(name.replace("\\", "/")))[0] for name in files]
    by_folder = all(folders) and len(set(folders)) == len(files)
    chosen = [posixpath.basename(folder) for folder in folders] if by_folder else stems
    if len(set(chosen)) < len(files):
        twice = next(name for name in chosen if chosen.count(name) > 1)
        expected = "expected one image a camera: reconstruct from one frame"
        raise UserError(f"{path}: {chosen.count(twice)} images of {twice!r}; {expected}")
    return dict(zip(files, map(printable, chosen), strict=True))


def _intrinsics(model: str, parameters: list[float], width: int, height: int, where: str) -> _Intrinsics:
    order = next((order for name, order in MODELS.values() if name == model), None)
    if order is None:
        known = ", ".join(name for name, _ in MODELS.values())
        raise UserError(f"{where}: a camera of the model {model[:40]}; expected one of {known}: undistort it in COLMAP")
    names = order.split()
    if len(parameters) != len(names):
        raise UserError(f"{where}: {len(parameters)} parameters; {model} has {len(names)}: export the model again")
    if not (0 < width < 2**16 and 0 < height < 2**16 and all(map(math.isfinite, parameters))):
        found = f"{width}x{height} pixels, parameters {parameters[:4]}"
        raise UserError(f"{where}: {found}: expected a picture's size and finite numbers: export the model again")
    values = dict(zip(names, parameters, strict=True))
    fx, fy = values.get("fx", values.get("f", 0.0)), values.get("fy", values.get("f", 0.0))
    K = np.array([[fx, 0, values["cx"] - 0.5], [0, fy, values["cy"] - 0.5], [0, 0, 1]])
    return _Intrinsics(K, np.array([values.get(key, 0.0) for key in ORDER]), width, height)


def _text(data: bytes, path: str) -> list[tuple[int, str]]:
    """(number, line) of all that is no comment. Empty lines stay: an image without points has one."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path}: expected a text file, found binary data: export the model again") from None
    return [(n, line.strip()) for n, line in enumerate(lines, 1) if not line.lstrip().startswith("#")]


def _camera_lines(lines: list[tuple[int, str]], path: str) -> Iterator[tuple[int, _Intrinsics]]:
    for n, line in lines:
        if not line:
            continue
        where, words = f"{path}, line {n}", line.split()
        try:
            number, model, width, height = int(words[0]), words[1], int(words[2]), int(words[3])
            parameters = [float(word) for word in words[4:]]
        except (ValueError, IndexError):
            raise UserError(f"{where}: {line[:40]!r}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS...") from None
        yield number, _intrinsics(model, parameters, width, height, where)


def _image_lines(lines: list[tuple[int, str]], path: str) -> Iterator[_Placed]:
    """Two lines an image; the second one's points are not looked at."""
    while lines and not lines[0][1]:
        lines = lines[1:]
    for n, line in lines[::2]:
        if not line:
            continue
        words = line.split(maxsplit=9)
        try:
            numbers = np.array([float(word) for word in words[1:8]])
            camera, name = int(words[8]), words[9]
        except (ValueError, IndexError):
            expected = "expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, and a line of points behind it"
            raise UserError(f"{path}, line {n}: {line[:40]!r}: {expected}") from None
        yield _Placed(name, camera, numbers[:4], numbers[4:])


def _cameras_of(data: bytes, path: str) -> Iterator[tuple[int, _Intrinsics]]:
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<iiQQ", data, at)
        where = f"{path}, camera {number}"
        if model not in MODELS:
            name = OTHERS.get(model, f"number {model}")
            known = ", ".join(name for name, _ in MODELS.values())
            raise UserError(f"{where}: a camera of the model {name}; expected one of {known}: undistort it in COLMAP")
        name, order = MODELS[model]
        parameters = struct.unpack_from(f"<{len(order.split())}d", data, at + 24)
        at += 24 + 8 * len(parameters)
        yield number, _intrinsics(name, list(parameters), width, height, where)


def _images_of(data: bytes, path: str) -> Iterator[_Placed]:
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *numbers, camera = struct.unpack_from("<i7di", data, at)
        at += 64
        end = data.find(b"\0", at)
        if end < 0:
            raise UserError(f"{path}: cut off: export the model again")
        name = data[at:end].decode("utf-8", "replace")
        (points,) = struct.unpack_from("<Q", data, end + 1)
        at = end + 9 + 24 * points
        values = np.array(numbers)
        yield _Placed(name, camera, values[:4], values[4:])
