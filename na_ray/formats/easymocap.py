"""EasyMocap's folders: `intri.yml` and `extri.yml`, and the tracked people, a JSON a frame.

x_camera = R(R_<name>) x_world + T_<name>. V = R(Rh) X(poses, shapes) + Th.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.layout import by_number
from na_ray.capture.rig import parse_json
from na_ray.capture.storage import join, listing, read_text
from na_ray.config.values import UserError
from na_ray.formats.calibrated import CalibratedCamera, calibrated, printable
from na_ray.formats.opencv_yml import matrix_of, number_of, read_yml

INTRINSICS, EXTRINSICS = "intri.yml", "extri.yml"
LENGTHS = (63, 66, 69, 72, 78, 87, 156, 159, 165)
"""Numbers of a pose: 63 and 69 lack the root's."""
SAME_TURN = 1e-3
"""Radians: two rotations of one camera that differ by more are two."""


@dataclass(frozen=True)
class Calibration:
    """What the two files say."""

    cameras: tuple[CalibratedCamera, ...]
    """Those in both, in the order of intri.yml."""
    lone: Mapping[str, str]
    """Name to a half line about it, of cameras that one of the files lacks."""
    notes: tuple[str, ...] = ()
    """Lines for the user."""


def read_cameras(folder: str) -> Calibration:
    """The cameras of a folder with both files. Raises UserError, one line, and FileNotFoundError."""
    inner, outer = join(folder, INTRINSICS), join(folder, EXTRINSICS)
    for path in (inner, outer):
        if path.rsplit("/", 1)[1] not in listing(folder):
            raise FileNotFoundError(f"{path}: no such file; expected EasyMocap's calibration: copy it there")
    intrinsics, extrinsics = read_yml(inner), read_yml(outer)
    known = _names(intrinsics, ("K_",), inner)
    placed = _names(extrinsics, ("R_", "Rot_"), outer)
    lone = {name: f"{outer} has no R_{name}" for name in known if name not in placed}
    lone |= {name: f"{inner} has no K_{name}" for name in placed if name not in known}
    cameras, notes = [], []
    for name in (name for name in known if name in placed):
        R, T, note = _extrinsics(extrinsics, name, outer)
        K = matrix_of(intrinsics, f"K_{name}", inner)
        size = (_length(intrinsics, f"W_{name}", inner), _length(intrinsics, f"H_{name}", inner))
        cameras.append(
            calibrated(f"{folder}, camera {name}", name, K, _distortion(intrinsics, name, inner), R, T, size)
        )
        notes += note
    if not cameras:
        raise UserError(f"{folder}: {INTRINSICS} and {EXTRINSICS} share no camera ({_lone(lone)}): calibrate again")
    return Calibration(tuple(cameras), lone, tuple(notes))


def _lone(lone: Mapping[str, str]) -> str:
    return "; ".join(list(lone.values())[:2]) or "they have none"


def _names(values: dict[str, Any], prefixes: tuple[str, ...], path: str) -> list[str]:
    """The cameras' names: those listed that have values, then those that are not listed."""
    listed = values.get("names", [])
    if not isinstance(listed, list) or not all(isinstance(name, str) and name.isprintable() for name in listed):
        raise UserError(f"{path}: names is no list of names; expected EasyMocap's: calibrate or copy it again")
    if len(set(listed)) < len(listed):
        twice = next(name for name in listed if listed.count(name) > 1)
        raise UserError(f"{path}: names holds {twice!r} twice; expected each camera once: remove one")
    found = {key[len(prefix) :] for prefix in prefixes for key in values if key.startswith(prefix)}
    bare = [name for name in listed if name not in found]
    if bare:
        raise UserError(f"{path}: names holds {bare[0]!r}, but there is no {prefixes[0]}{bare[0]}: calibrate it again")
    return [*listed, *sorted(found - set(listed))]


def _extrinsics(values: dict[str, Any], name: str, path: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(R, T, notes): EasyMocap itself reads the axis-angle `R_`, so that it counts where `Rot_` says otherwise."""
    if f"T_{name}" not in values:
        raise UserError(f"{path}: there is no T_{name}; expected one for each camera: calibrate it again")
    T = matrix_of(values, f"T_{name}", path).reshape(-1)
    full = matrix_of(values, f"Rot_{name}", path) if f"Rot_{name}" in values else None
    if f"R_{name}" not in values:
        assert full is not None
        return full, T, []
    turn = matrix_of(values, f"R_{name}", path)
    if turn.shape == (3, 3):
        return turn, T, []
    if turn.size != 3 or not np.isfinite(turn).all():
        raise UserError(f"{path}: R_{name} is {turn.tolist()}; expected three finite numbers: calibrate it again")
    R = Rotation.from_rotvec(turn.reshape(-1)).as_matrix()
    if full is None or (full.shape == (3, 3) and np.abs(R - full).max() <= SAME_TURN):
        return R, T, []
    return R, T, [f"{path}: R_{name} and Rot_{name} disagree; R_{name} is taken, which EasyMocap reads"]


def _distortion(values: dict[str, Any], name: str, path: str) -> np.ndarray:
    for key in (f"dist_{name}", f"D_{name}"):
        if key in values:
            found = matrix_of(values, key, path)
            if 1 not in found.shape or found.size not in (4, 5, 8, 12, 14):
                size = "x".join(map(str, found.shape))
                raise UserError(f"{path}: {key} is {size}; expected OpenCV's 4, 5 or 8 numbers: calibrate it again")
            return found.reshape(-1)
    return np.zeros(5)


def _length(values: dict[str, Any], key: str, path: str) -> int | None:
    """Pixels of a side; None where the file does not say."""
    if key not in values:
        return None
    try:
        value = matrix_of(values, key, path).item() if isinstance(values[key], dict) else number_of(values[key])
        found = int(value)
    except (ValueError, OverflowError, TypeError):
        found = 0
    if not 0 < found < 2**16:
        told = f"{key} is {printable(values[key])!r}"
        raise UserError(f"{path}: {told}; expected the picture's pixels: calibrate it again")
    return found


@dataclass(frozen=True, eq=False)
class Person:
    """A tracked person at one frame."""

    Rh: Float64[np.ndarray, "3"]
    """Axis-angle about the origin."""
    Th: Float64[np.ndarray, "3"]
    """What is then added, m."""
    poses: Float64[np.ndarray, "n"]
    """One of `LENGTHS`; the root first, where it is there."""
    shapes: Float64[np.ndarray, "s"]
    """Shape coefficients."""
    has_expression: bool = False
    """Whether the file has coefficients of an expression that are not zero."""


def read_people(folder: str) -> dict[int, dict[str, Person]]:
    """Frame number to who is there, by id as text, of a folder with one JSON a frame. Raises UserError."""
    files = by_number(folder, listing(folder), (".json",))
    if not files:
        raise UserError(f"{folder}: no files such as 000000.json; expected a JSON a frame: check the path")
    return {number: people_of(join(folder, name)) for number, name in files.items()}


def people_of(path: str) -> dict[str, Person]:
    """Who is in one frame. Raises UserError."""
    text = read_text(path)
    bare = text.lstrip().startswith("[")
    values = parse_json('{"annots": ' + text + "}" if bare else text, path)
    people = values.get("annots")
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise UserError(f"{path}: no list of people; expected EasyMocap's [{{id, Rh, Th, poses}}]: export it again")
    found: dict[str, Person] = {}
    for person in people:
        name = printable(person.get("id", 0))
        if name in found:
            raise UserError(f"{path}: person {name} is there twice; expected each id once: track again")
        found[name] = _person(person, path)
    return found


def _person(person: dict[str, Any], where: str) -> Person:
    Rh, Th = (_numbers(person, key, where, (3,)) for key in ("Rh", "Th"))
    poses = _numbers(person, "poses", where, LENGTHS)
    shapes = _numbers(person, "shapes", where) if "shapes" in person else np.zeros(10)
    face = _numbers(person, "expression", where) if "expression" in person else np.zeros(1)
    return Person(Rh, Th, poses, shapes, bool(np.any(face)))


def _numbers(person: dict[str, Any], key: str, where: str, lengths: Iterable[int] = ()) -> Float64[np.ndarray, "n"]:
    """The numbers under a key. Raises UserError where they are none, or another count than one of `lengths`."""
    if key not in person:
        raise UserError(f"{where}: {key} is missing; it has {printable(', '.join(person))}: export it again")
    try:
        values = np.array(person[key], np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: {key} is no list of numbers: export it again") from None
    allowed = tuple(lengths)
    if allowed and len(values) not in allowed:
        expected = allowed[0] if len(allowed) == 1 else f"one of {allowed}"
        raise UserError(f"{where}: {key} holds {len(values)} numbers; expected {expected}: export it again")
    if not np.isfinite(values).all():
        raise UserError(f"{where}: {key} holds numbers that are not finite: export it again")
    return values
