"""Tracked people as the published layout has them: skinning transforms a frame, un-rotated, and where the body goes.

Symbols: r_j joint j at rest, R_j its rotation relative to its parent, A_j the transform of joint j from rest to posed
space with the root's rotation left out (A_0 = I), J_0 = r_0. A tracked body is V = R(Rh) X + Th, and X turns about J_0
by R_0 (none where EasyMocap itself wrote the file), so that

    rotation = (R(Rh) R_0)^T        translation = R(Rh) (J_0 - R_0 J_0) + Th        world = v @ rotation + translation
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.rig import Pose
from na_ray.capture.skeleton import SMPL_JOINTS, Skeleton
from na_ray.config.values import UserError
from na_ray.formats.easymocap import Person
from na_ray.formats.smpl_body import BODY, SmplBody

HAND_COEFFICIENTS = 6
"""Of each hand, in EasyMocap's poses of 78 and 87."""


@dataclass(frozen=True, eq=False)
class Track:
    """One person through the frames in which they are there."""

    frames: tuple[int, ...]
    """Frame numbers as the files bear them, ascending."""
    people: tuple[Person, ...]
    """Who is there, in the same order."""
    lines: tuple[str, ...] = ()
    """What the user should know."""
    person: str = "0"
    """Who it is: their id."""

    @property
    def shapes(self) -> Float64[np.ndarray, "n s"]:
        """Shape coefficients, padded with zeros where files differ."""
        width = max(len(person.shapes) for person in self.people)
        return np.stack([np.pad(person.shapes, (0, width - len(person.shapes))) for person in self.people])

    def among(self, frames: Sequence[int]) -> "Track":
        """Of these frames alone."""
        wanted = set(frames)
        kept = [(f, p) for f, p in zip(self.frames, self.people, strict=True) if f in wanted]
        return replace(self, frames=tuple(f for f, _ in kept), people=tuple(p for _, p in kept))


def choose(people: Mapping[int, Mapping[str, Person]], wanted: str | None, where: str) -> Track:
    """The person to follow. Raises UserError where there is none, or several and `wanted` names none of them."""
    counts = Counter(name for frame in people.values() for name in frame)
    if not counts:
        raise UserError(f"{where}: nobody is in any of its {len(people)} frames: track again")
    told = ", ".join(f"{name} in {n}" for name, n in sorted(counts.items())[:8])
    if wanted is None and len(counts) > 1:
        raise UserError(f"{where}: {len(counts)} people ({told} of {len(people)} frames): choose one, --person ID")
    name = next(iter(counts)) if wanted is None else wanted
    if name not in counts:
        raise UserError(f"{where}: there is no person {name} ({told} of {len(people)} frames): --person names another")
    kept = {number: frame[name] for number, frame in sorted(people.items()) if name in frame}
    lengths = Counter(len(person.poses) for person in kept.values())
    if len(lengths) > 1:
        usual = lengths.most_common(1)[0][0]
        odd = next(number for number, person in kept.items() if len(person.poses) != usual)
        found = f"frame {odd} has {len(kept[odd].poses)} numbers in its pose, most have {usual}"
        raise UserError(f"{where}: {found}; expected one model for all frames: track again")
    numbers = sorted(people)
    inside = [n for n in numbers if min(kept) <= n <= max(kept) and n not in kept]
    ends = len(numbers) - len(kept) - len(inside)
    lines = [f"person {name}: in {len(kept)} frames"]
    if inside or ends:
        shown = ", ".join(map(str, inside[:8])) + ", ..." * (len(inside) > 8)
        lines.append(
            f"frames without a person are left out: {ends} before and after, {len(inside)} between"
            + (f" ({shown})" if inside else "")
        )
    if any(person.has_expression for person in kept.values()):
        lines.append("expressions of the face are left out: skinning transforms do not hold them")
    return Track(tuple(kept), tuple(kept.values()), tuple(lines), name)


def rotvecs_of(track: Track, body: SmplBody | None) -> tuple[Float64[np.ndarray, "n j 3"], list[str]]:
    """(axis-angles of the model's joints relative to their parents, lines). Without a model: of SMPL's 24 joints."""
    poses = np.stack([person.poses for person in track.people])
    if poses.shape[1] in (63, 69):
        poses = np.concatenate([np.zeros((len(poses), 3)), poses], axis=1)
    joints = len(SMPL_JOINTS) if body is None else len(body.parents)
    found = np.zeros((len(poses), 3 * joints))
    width = poses.shape[1]
    if width == 3 * joints:
        return poses.reshape(len(poses), joints, 3), []
    found[:, : 3 * BODY] = poses[:, : 3 * BODY]
    kind, lines = "SMPL" if body is None else body.kind, []
    if width in (78, 87) and body is not None and joints > len(SMPL_JOINTS):
        lines = _hands_and_face(poses, found, body)
    elif width in (156, 159, 165) and joints > len(SMPL_JOINTS):
        found[:, -90:] = poses[:, -90:]
        # Between body and hands: nothing, the jaw, or jaw and eyes.
        face = min(width - 156, 3 * joints - 156)
        found[:, 3 * BODY : 3 * BODY + face] = poses[:, 3 * BODY : 3 * BODY + face]
        lines = [f"poses of {width} numbers on {kind}: what one of them lacks of the face keeps its rest"]
    elif width != 66:
        lines = [f"poses of {width} numbers on {kind}: the first {BODY} joints move, hands and face keep their rest"]
    return found.reshape(len(poses), joints, 3), lines


def _hands_and_face(poses: Float64[np.ndarray, "n w"], found: Float64[np.ndarray, "n c"], body: SmplBody) -> list[str]:
    """Write what 12 coefficients of the hands, and nine numbers of jaw and eyes behind them, say."""
    start, lines = 3 * BODY, []
    if body.hands is None:
        lines.append(f"{body.source}: it has no hands_components and hands_mean: the hands keep their rest")
    else:
        left, right, left_mean, right_mean = body.hands
        split = start + HAND_COEFFICIENTS
        found[:, -90:-45] = poses[:, start:split] @ left[:HAND_COEFFICIENTS] + left_mean
        found[:, -45:] = poses[:, split : split + HAND_COEFFICIENTS] @ right[:HAND_COEFFICIENTS] + right_mean
    if body.kind == "SMPL-X" and poses.shape[1] == 87:
        found[:, start : start + 9] = poses[:, -9:]
    return lines


def transforms(rotvecs: Float64[np.ndarray, "n j 3"], skeleton: Skeleton) -> Float64[np.ndarray, "n j 4 4"]:
    """A_j of each frame: from rest to posed space, each joint turned about its own place."""
    turns = Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_matrix().reshape(*rotvecs.shape[:2], 3, 3)
    local = np.zeros((*rotvecs.shape[:2], 4, 4))
    local[..., :3, :3] = turns
    # About r_j: x -> R (x - r) + r.
    local[..., :3, 3] = skeleton.rest - np.einsum("njab,jb->nja", turns, skeleton.rest)
    local[..., 3, 3] = 1
    found = np.empty_like(local)
    for j in skeleton.order:
        parent = skeleton.parents[j]
        found[:, j] = local[:, j] if parent < 0 else found[:, parent] @ local[:, j]
    return found


def poses_of(
    rotvecs: Float64[np.ndarray, "n j 3"],
    Rh: Float64[np.ndarray, "n 3"],
    Th: Float64[np.ndarray, "n 3"],
    skeleton: Skeleton,
) -> list[Pose]:
    """Poses by V = R(Rh) X(poses) + Th."""
    about, root = Rotation.from_rotvec(Rh), Rotation.from_rotvec(rotvecs[:, 0])
    J_0 = skeleton.rest[0]
    rotations = (about * root).as_matrix()
    translations = about.apply(J_0 - root.apply(J_0)) + Th
    bent = rotvecs.copy()
    bent[:, 0] = 0
    A = transforms(bent, skeleton)
    placed = np.einsum("njab,jb->nja", A[..., :3, :3], skeleton.rest) + A[..., :3, 3]
    joints = np.einsum("nab,njb->nja", rotations, placed) + translations[:, None]
    return [
        Pose(*(a.astype(np.float32) for a in (A[i], rotations[i].T, translations[i], joints[i], bent[i].reshape(-1))))
        for i in range(len(rotvecs))
    ]
