"""Motions as numbers of SMPL's joints: AMASS and SMPL-X `.npz`, EasyMocap's folders, text-to-motion JSON.

These say how joints turn and where the root goes, and nothing of the bones: who reads them says which rest they turn.
Where the body is: EasyMocap's V = R(Rh) X(poses) + Th turns about the model's origin, so that the root joint is at
R(Rh) J_0 + Th; AMASS turns about the root joint, which is at J_0 + trans. J_0 is the root joint at rest.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.layout import by_number
from na_ray.capture.rig import parse_json
from na_ray.capture.skeleton import SMPL_JOINTS, SMPL_PARENTS, Skeleton
from na_ray.capture.storage import join, listing, open_binary, read_text
from na_ray.config.values import UserError
from na_ray.formats.clip import MotionClip

BODY = 22
"""Joints that SMPL, SMPL-H and SMPL-X share; behind them are SMPL's two hands, or fingers and faces."""

LENGTHS = (63, 66, 69, 72, 78, 87, 156, 159, 165)
"""Numbers of a pose: 63 and 69 lack the root's."""

_UPPER = {  # metres, SMPL's mean body to the nearest half centimetre, its two sides made alike
    "pelvis": (0.0, -0.225, 0.03),
    "hip": (0.07, -0.315, 0.02),
    "knee": (0.105, -0.695, 0.015),
    "ankle": (0.09, -1.095, -0.03),
    "foot": (0.115, -1.145, 0.09),
    "spine1": (0.0, -0.115, 0.0),
    "spine2": (0.0, 0.02, 0.005),
    "spine3": (0.0, 0.075, 0.03),
    "neck": (0.0, 0.29, -0.015),
    "head": (0.0, 0.355, 0.035),
    "collar": (0.08, 0.195, -0.005),
    "shoulder": (0.175, 0.225, -0.015),
    "elbow": (0.43, 0.215, -0.04),
    "wrist": (0.68, 0.225, -0.045),
    "hand": (0.765, 0.215, -0.055),
}


def mean_skeleton() -> Skeleton:
    """SMPL's joints in its rest pose, a T pose that faces z, y up, metres."""
    rest = []
    for name in SMPL_JOINTS:
        side, _, part = name.partition("_")
        x, y, z = _UPPER[part or side]
        rest.append((-x if side == "right" else x, y, z))
    return Skeleton(tuple(SMPL_JOINTS), SMPL_PARENTS, np.array(rest))


@dataclass(frozen=True, eq=False)
class SmplMotion:
    """What a file of SMPL's numbers holds."""

    source: str
    fps: float | None
    """Frames a second; None where the file does not say."""
    rotvecs: Float64[np.ndarray, "n 24 3"]
    """Axis-angles relative to the parents; the root's relative to the world."""
    turns: Float64[np.ndarray, "n 3"]
    """Axis-angle that turns the root joint's place about the origin; zero where the body turns about that joint."""
    translations: Float64[np.ndarray, "n 3"]
    """What is then added to it, m."""
    notes: tuple[str, ...] = ()

    def clip(self, skeleton: Skeleton, fps: float) -> MotionClip:
        """The motion of a body with these bones: all of SMPL's joints, in its order."""
        places = Rotation.from_rotvec(self.turns).apply(skeleton.rest[0]) + self.translations
        return MotionClip(self.source, self.fps or fps, skeleton, self.rotvecs, {0: places}, self.notes)


def read_npz(path: str) -> SmplMotion:
    """AMASS's or SMPL-X's arrays. Nothing in the file is unpickled. Raises UserError, one line, for another file."""
    arrays = _load_npz(path)
    if "poses" in arrays:
        poses = arrays["poses"]
    elif {"root_orient", "pose_body"} <= set(arrays):
        poses = np.concatenate([arrays["root_orient"], arrays["pose_body"]], axis=-1)
    else:
        raise UserError(f"{path}: no array 'poses' (or 'root_orient' and 'pose_body'){_known(arrays)}")
    if "trans" not in arrays:
        raise UserError(f"{path}: no array 'trans', which says where the body goes{_known(arrays)}")
    trans = arrays["trans"]
    if poses.ndim != 2 or trans.shape != (len(poses), 3) or not len(poses):
        shapes = f"poses {'x'.join(map(str, poses.shape))} and trans {'x'.join(map(str, trans.shape))}"
        raise UserError(f"{path}: {shapes}; expected (frames, numbers) and (frames, 3): export it again")
    rate = next((arrays[k] for k in ("mocap_framerate", "mocap_frame_rate", "fps") if k in arrays), None)
    if rate is not None and not (rate.size == 1 and 0 < float(rate.reshape(())) < np.inf):
        raise UserError(f"{path}: the frame rate is {rate.tolist()}; expected a positive number: export it again")
    fps = None if rate is None else float(rate.reshape(()))
    return SmplMotion(path, fps, _joints(poses, path), np.zeros((len(poses), 3)), _finite(trans, path))


def _load_npz(path: str) -> dict[str, np.ndarray]:
    """The numeric arrays that may be asked for, as float64."""
    wanted = ("poses", "trans", "root_orient", "pose_body", "mocap_framerate", "mocap_frame_rate", "fps")
    found: dict[str, np.ndarray] = {}
    with open_binary(path) as file:
        try:
            held = np.load(file, allow_pickle=False)
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: holds one array; expected an .npz with poses and trans: export it again")
            for name in held.files:
                # Others, such as `gender`, may be pickles: they are not looked at.
                found[name] = np.asarray(held[name], np.float64) if name in wanted else np.zeros(0)
        except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, UserError):
                raise
            pickled = "pickle" in str(error)
            what = "holds a pickle, which could run anything and is not opened" if pickled else f"is damaged ({error})"
            raise UserError(f"{path}: {what}; expected an .npz of plain arrays: save poses and trans again") from None
    return found


def _known(arrays: dict[str, np.ndarray]) -> str:
    return f"; it has {', '.join(arrays) or 'none'}; expected AMASS's names: save it under those"


def read_people(path: str) -> SmplMotion:
    """EasyMocap's folder of one JSON a frame (or one that holds it as `smpl/`), or one file of all frames, as
    text-to-motion programs write it. Raises UserError, one line, for another file."""
    fps, frames, names = _frames_of_file(path) if path.lower().endswith(".json") else _frames_of_folder(path)
    people = [person for frame in frames for person in frame]
    counts: dict[Any, int] = {}
    for person in people:
        counts[person.get("id", 0)] = counts.get(person.get("id", 0), 0) + 1
    if not counts:
        raise UserError(f"{path}: nobody is in any of its {len(frames)} frames: export it again")
    chosen = max(counts, key=lambda key: counts[key])
    rows, missing = [], []
    for name, frame in zip(names, frames, strict=True):
        own = next((person for person in frame if person.get("id", 0) == chosen), None)
        if own is not None:
            rows.append(_read_person(own, name))
        elif rows:
            rows.append(rows[-1])
            missing.append(name)
    notes = (
        [f"{path}: {len(counts)} people; person {chosen} is taken, who is in most frames"] if len(counts) > 1 else []
    )
    notes += [f"{path}: person {chosen} is missing in {len(missing)} frames, which repeat the one before"] * bool(
        missing
    )
    fps = fps or next((rate for p in people if (rate := _rate(p.get("mocap_framerate")))), None)
    Rh, Th, poses = (np.stack([row[i] for row in rows]) for i in range(3))
    rotvecs = _joints(poses, path)
    own_root = Rotation.from_rotvec(rotvecs[:, 0])
    rotvecs[:, 0] = (Rotation.from_rotvec(Rh) * own_root).as_rotvec()
    return SmplMotion(path, fps, rotvecs, Rh, Th, tuple(notes))


def _rate(value: object) -> float | None:
    """A frame rate; None for what is none."""
    return float(value) if isinstance(value, int | float) and 0 < value < np.inf else None


def _frames_of_file(path: str) -> tuple[float | None, list[list[dict[str, Any]]], list[str]]:
    values = parse_json(read_text(path), path)
    frames = values.get("frames")
    if not isinstance(frames, list) or not frames or not all(map(_is_people, frames)):
        keys = ", ".join(values) or "none"
        expected = "expected 'frames', a list with a list of people for each frame: export it again"
        raise UserError(f"{path}: no motion (its keys are {keys}); {expected}")
    return _rate(values.get("fps")), frames, [f"{path}, frame {i}" for i in range(len(frames))]


def _frames_of_folder(path: str) -> tuple[float | None, list[list[dict[str, Any]]], list[str]]:
    names = listing(path)
    folder = join(path, "smpl") if "smpl" in names else path
    files = by_number(folder, listing(folder), (".json",))
    if not files:
        raise UserError(f"{folder}: no files such as 000000.json: check the path")
    frames: list[list[dict[str, Any]]] = []
    places = [join(folder, name) for name in files.values()]
    for place in places:
        text = read_text(place)
        wrapped = parse_json('{"annots": ' + text + "}" if text.lstrip().startswith("[") else text, place)
        people: Any = wrapped.get("annots")
        if not _is_people(people):
            raise UserError(
                f"{place}: no list of people; expected EasyMocap's [{{id, Rh, Th, poses}}]: export it again"
            )
        frames.append(people)
    return None, frames, places


def _is_people(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(person, dict) for person in value)


def _read_person(person: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(Rh, Th, poses) of a person."""
    found = []
    for key in ("Rh", "Th", "poses"):
        try:
            values = np.array(person[key], np.float64).reshape(-1)
        except KeyError:
            raise UserError(f"{where}: {key} is missing; it has {', '.join(person)}: export it again") from None
        except (TypeError, ValueError):
            raise UserError(f"{where}: {key} is no list of numbers: export it again") from None
        if key != "poses" and len(values) != 3:
            raise UserError(f"{where}: {key} holds {len(values)} numbers; expected 3: export it again")
        if not np.isfinite(values).all():
            raise UserError(f"{where}: {key} holds numbers that are not finite: export it again")
        found.append(values)
    if len(found[2]) not in LENGTHS:
        raise UserError(f"{where}: poses holds {len(found[2])} numbers; expected one of {LENGTHS}: export it again")
    return found[0], found[1], found[2]


def _finite(values: Float64[np.ndarray, "n c"], where: str) -> Float64[np.ndarray, "n c"]:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise UserError(f"{where}: frame {bad[0]} holds numbers that are not finite: export it again")
    return values


def _joints(poses: Float64[np.ndarray, "n c"], where: str) -> Float64[np.ndarray, "n 24 3"]:
    """Axis-angles of SMPL's joints. Fingers and faces are left out; hands turn in SMPL's own 72 numbers alone."""
    width = poses.shape[1]
    if width not in LENGTHS:
        raise UserError(f"{where}: a pose holds {width} numbers; expected one of {LENGTHS}: export it again")
    if width in (63, 69):
        poses = np.concatenate([np.zeros((len(poses), 3)), poses], axis=1)
        width += 3
    kept = 3 * (len(SMPL_JOINTS) if width == 72 else BODY)
    found = np.zeros((len(poses), 3 * len(SMPL_JOINTS)))
    found[:, :kept] = _finite(poses[:, :kept], where)
    return found.reshape(len(poses), len(SMPL_JOINTS), 3)


def root_choices(actor: Skeleton, rest: Skeleton) -> Sequence[Skeleton]:
    """The bones `rest`, with its origin where SMPL has it, and where the actor has it: the turn about the origin of
    EasyMocap's files is about either, and the file does not say which."""
    moved = Skeleton(rest.names, rest.parents, rest.rest - rest.rest[0] + actor.rest[0])
    mean = mean_skeleton()
    usual = Skeleton(rest.names, rest.parents, rest.rest - rest.rest[0] + mean.rest[0])
    return (moved, usual)
