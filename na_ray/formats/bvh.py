"""BVH, the text format of motion capture: a hierarchy of joints with offsets and channels, then numbers frame by frame.

Every dialect is read: any order of channels on any joint, positions on joints that are not the root (Blender's exporter
writes them on all), several roots, joints with fewer than three rotations, names with blanks. Rotations are degrees,
applied in the order of the channels: R = R_1 R_2 R_3.
"""

import re
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.skeleton import Skeleton
from na_ray.capture.storage import read_text
from na_ray.config.values import UserError
from na_ray.formats.clip import MotionClip

AXES = {"x": 0, "y": 1, "z": 2}

AGAIN = "export it again"


@dataclass
class _Joint:
    """A joint while its file is read."""

    name: str
    parent: int
    offset: Float64[np.ndarray, "3"] | None = None
    channels: list[str] = field(default_factory=list)


class _Lines:
    """The lines of a file that are not empty, one after the other, with their numbers."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        lines = enumerate(text.lstrip("\ufeff").splitlines(), 1)
        # A brace may stand behind a name: it becomes a line of its own.
        parts = ((n, part.strip()) for n, line in lines for part in re.split(r"([{}])", line))
        self.rest = [(n, part) for n, part in parts if part]
        self.at = 0

    def next(self, expected: str) -> str:
        """The next line. Raises UserError at the end of the file."""
        if self.at == len(self.rest):
            raise UserError(f"{self.path}: ends where {expected} was expected: it is cut short: {AGAIN}")
        self.at += 1
        return self.rest[self.at - 1][1]

    def fault(self, expected: str) -> UserError:
        """What is wrong with the line that was read last."""
        n, line = self.rest[self.at - 1]
        return UserError(f"{self.path}, line {n}: {line[:60]!r}: expected {expected}: {AGAIN}")


def read_bvh(path: str) -> MotionClip:
    """Read a BVH file. Raises UserError, one line, where it is damaged or its root does not move."""
    lines = _Lines(path, read_text(path))
    joints = _read_hierarchy(lines)
    count, seconds = _read_head(lines)
    values = _read_frames(lines, count, sum(len(joint.channels) for joint in joints))
    parents = tuple(joint.parent for joint in joints)
    offsets = np.array([joint.offset for joint in joints], np.float64)
    rest = offsets.copy()
    for j, parent in enumerate(parents):  # parents come first in a file
        if parent >= 0:
            rest[j] += rest[parent]
    rotvecs, moves = _read_channels(joints, offsets, values)
    if not moves:
        raise UserError(f"{path}: no joint has position channels: where the body goes is not in it: {AGAIN} with them")
    skeleton = Skeleton(tuple(joint.name for joint in joints), parents, rest)
    return MotionClip(path, 1 / seconds, skeleton, rotvecs, moves, _told_positions(joints, moves, rest, path))


def _read_hierarchy(lines: _Lines) -> list[_Joint]:
    """The joints, parents first; end sites are left out."""
    if lines.next("HIERARCHY").upper() != "HIERARCHY":
        raise lines.fault("HIERARCHY, as a BVH file begins")
    joints: list[_Joint] = []
    stack: list[int | None] = []  # open braces: the joint, or None for an end site
    opened: int | None = None
    while (line := lines.next("MOTION")).upper() != "MOTION" or stack:
        word, *words = line.split()
        if word.upper() in ("ROOT", "JOINT"):
            above = [j for j in stack if j is not None]
            joints.append(_Joint(" ".join(words), above[-1] if above else -1))
            opened = len(joints) - 1
        elif word.upper() == "END":
            opened = None
        elif word == "{":
            stack.append(opened)
        elif word == "}":
            if not stack:
                raise lines.fault("fewer closing braces")
            stack.pop()
        elif word.upper() in ("OFFSET", "CHANNELS"):
            if not stack or not _read_field(word.upper(), words, joints, stack[-1]):
                raise lines.fault(
                    "three finite numbers" if word.upper() == "OFFSET" else "the channels' number and names"
                )
        else:
            raise lines.fault("ROOT, JOINT, OFFSET, CHANNELS, End Site, a brace or MOTION")
    missing = next((j.name for j in joints if j.offset is None), None)
    if missing is not None or not joints:
        raise UserError(f"{lines.path}: {missing or 'the hierarchy'} has no OFFSET: {AGAIN}")
    return joints


def _read_field(word: str, values: list[str], joints: list[_Joint], owner: int | None) -> bool:
    """Read OFFSET or CHANNELS of a joint, or of an end site (None); returns whether it could be read."""
    if word == "OFFSET":
        offset = _numbers(" ".join(values))
        if offset is None or len(offset) != 3 or not np.isfinite(offset).all():
            return False
        if owner is not None:
            joints[owner].offset = offset
        return True
    names = [value.lower() for value in values[1:]]
    known = all(n[:1] in AXES and n[1:] in ("position", "rotation") for n in names)
    if not values or not values[0].isdigit() or int(values[0]) != len(names) or not known or owner is None:
        return False
    joints[owner].channels = names
    return True


def _read_head(lines: _Lines) -> tuple[int, float]:
    """(frames, seconds a frame)."""
    word, _, count = lines.next("Frames:").partition(":")
    if word.strip().lower() != "frames" or not count.strip().isdigit():
        raise lines.fault("Frames: and their number")
    word, _, seconds = lines.next("Frame Time:").partition(":")
    time = _numbers(seconds)
    if word.strip().lower() != "frame time" or time is None or len(time) != 1 or not 0 < time[0] < np.inf:
        raise lines.fault("Frame Time: and the seconds of a frame")
    if int(count) == 0:
        raise UserError(f"{lines.path}: has no frames; expected one or more: {AGAIN}")
    return int(count), _round_time(float(time[0]))


def _round_time(seconds: float) -> float:
    """Files round the time of a frame: one that is a whole rate but for its last digit is that rate's."""
    rate = 1 / seconds
    return 1 / round(rate) if abs(rate - round(rate)) < 1e-3 * rate and round(rate) else seconds


def _read_frames(lines: _Lines, count: int, channels: int) -> Float64[np.ndarray, "n c"]:
    """The numbers of each frame. A frame's may run over several lines."""
    left = lines.rest[lines.at :]
    values = _numbers(" ".join(line for _, line in left))
    if values is None:
        n, line = next((n, line) for n, line in left if _numbers(line) is None)
        raise UserError(f"{lines.path}, line {n}: {line[:40]!r} is no row of numbers: {AGAIN}")
    if len(values) != count * channels:
        found = f"{len(values)} numbers for {count} frames of {channels} channels"
        cut = "it is cut short" if len(values) < count * channels else "they do not belong together"
        raise UserError(f"{lines.path}: holds {found}; expected {count * channels}: {cut}: {AGAIN}")
    table = values.reshape(count, channels)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise UserError(f"{lines.path}: frame {bad[0]} holds numbers that are not finite: {AGAIN}")
    return table


def _numbers(text: str) -> Float64[np.ndarray, "n"] | None:
    """Every number of a text; None where something else stands among them."""
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError:
        return None


def _read_channels(
    joints: list[_Joint], offsets: Float64[np.ndarray, "j 3"], values: Float64[np.ndarray, "n c"]
) -> tuple[Float64[np.ndarray, "n j 3"], dict[int, Float64[np.ndarray, "n 3"]]]:
    """(axis-angles, places of the joints whose positions say something: of a root always)."""
    rotvecs = np.zeros((len(values), len(joints), 3))
    moves: dict[int, Float64[np.ndarray, "n 3"]] = {}
    column = 0
    for j, joint in enumerate(joints):
        own = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        turns = [k for k, name in enumerate(joint.channels) if name.endswith("rotation")]
        if turns:
            # Capital letters: about the axes as turned so far, R_1 R_2 R_3.
            spelled = "".join(joint.channels[k][0].upper() for k in turns)
            rotvecs[:, j] = _rotations(spelled, own[:, turns]).as_rotvec()
        steps = [k for k, name in enumerate(joint.channels) if name.endswith("position")]
        if steps:
            place = np.tile(offsets[j], (len(values), 1))
            for k in steps:
                place[:, AXES[joint.channels[k][0]]] = own[:, k]
            if joint.parent < 0 or not _says_nothing(place, offsets[j]):
                moves[j] = place
    return rotvecs, moves


def _rotations(spelled: str, degrees: Float64[np.ndarray, "n k"]) -> Rotation:
    """R = R_1 R_2 ...: one axis may come twice in a row, which Euler angles have no name for."""
    found = Rotation.identity(len(degrees))
    for letter, angles in zip(spelled, degrees.T, strict=True):
        found = found * Rotation.from_rotvec(np.radians(angles)[:, None] * np.eye(3)[AXES[letter.lower()]])
    return found


def _says_nothing(place: Float64[np.ndarray, "n 3"], offset: Float64[np.ndarray, "3"]) -> bool:
    """Whether positions repeat the offset, as exporters that write them on all joints do."""
    return bool(np.abs(place - offset).max() <= 1e-4 * max(1.0, float(np.abs(offset).max())))


def _told_positions(
    joints: list[_Joint], moves: dict[int, Float64[np.ndarray, "n 3"]], rest: Float64[np.ndarray, "j 3"], path: str
) -> tuple[str, ...]:
    """Which joints are moved against their parents."""
    moved = [joints[j].name for j in moves if joints[j].parent >= 0]
    if not moved:
        return ()
    return (f"{path}: positions move {', '.join(moved[:8])}{', ...' if len(moved) > 8 else ''} against their parents",)
