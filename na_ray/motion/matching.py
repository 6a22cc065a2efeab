"""Which joint of a motion drives which joint of the actor, and how both rests are brought to one pose.

A *part* is a joint by SMPL's name (`na_ray.formats.joint_names`). Rests differ (T poses, A poses, arms that hang down):
B_j turns joint j from its own rest to the T pose, in which the arms point to the sides and the legs straight down.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.skeleton import Skeleton
from na_ray.config.values import UserError
from na_ray.formats.clip import MotionClip
from na_ray.formats.joint_names import parts_of, spine_of

SIDES = ("left", "right")

LIMBS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
"""The joints along a leg and an arm: their bones point one way in a T pose."""

ALIKE = np.radians(0.5)
"""Rests whose limbs differ by no more than this are one rest: rotations are copied as they are."""


@dataclass(frozen=True, eq=False)
class NamedSkeleton:
    """A skeleton and what its joints are."""

    skeleton: Skeleton
    parts: dict[str, int]
    """Part to joint, but for the spine's."""
    spine: list[int]
    """The spine's joints from below, the pelvis and the neck left out."""

    @classmethod
    def of(cls, skeleton: Skeleton) -> "NamedSkeleton":
        """What the names say."""
        parts = parts_of(skeleton.names)
        pelvis = parts.get("pelvis", 0)
        top = next((parts[p] for p in ("neck", "head", "left_collar", "left_shoulder") if p in parts), None)
        spine = [] if top is None else spine_of(skeleton.names, skeleton.parents, pelvis, top)
        return cls(skeleton, parts, spine)

    def place(self, part: str) -> Float64[np.ndarray, "3"] | None:
        """Where a part is at rest; None where there is none."""
        return self.skeleton.rest[self.parts[part]] if part in self.parts else None

    @cached_property
    def pelvis(self) -> int:
        """The joint that is the pelvis, or the first one."""
        return self.parts.get("pelvis", 0)

    @cached_property
    def hips(self) -> tuple[int, ...]:
        """The joints whose middle is where the body is: both hips, else the pelvis."""
        both = tuple(self.parts[f"{side}_hip"] for side in SIDES if f"{side}_hip" in self.parts)
        return both if len(both) == 2 else (self.pelvis,)

    @cached_property
    def basis(self) -> Float64[np.ndarray, "3 3"]:
        """Columns: the body's left, up and front at rest. Raises UserError where the names do not tell them."""
        low = self.skeleton.rest[list(self.hips)].mean(axis=0)
        top = [self.parts[p] for p in ("neck", "head") if p in self.parts] + self.spine[::-1]
        middle = self.skeleton.rest[self.pelvis]
        sides = [p.removeprefix("left_") for p in self.parts if p.startswith("left_")]
        left = np.zeros(3)
        for part in sides:
            right = self.place(f"right_{part}")
            left += self.skeleton.rest[self.parts[f"left_{part}"]] - (middle if right is None else right)
        up = self.skeleton.rest[top[0]] - low if top else np.zeros(3)
        left -= up * (left @ up) / max(float(up @ up), 1e-12)
        if np.linalg.norm(up) < 1e-9 or np.linalg.norm(left) < 1e-9:
            known = ", ".join(self.skeleton.names[:12])
            expected = "expected hips, a spine or head, and a left side: name them in a file, --joints map.json"
            raise UserError(f"joints {known}: their names do not say where left and up are; {expected}")
        up, left = _snapped(up), _snapped(left)
        left = left - up * (left @ up)
        left /= np.linalg.norm(left)
        return np.stack([left, up, np.cross(left, up)], axis=1)

    @cached_property
    def leg(self) -> float | None:
        """Length of thigh and shin, the mean of both sides; None where a joint is missing."""
        lengths = []
        for side in SIDES:
            places = [self.place(f"{side}_{part}") for part in LIMBS[0]]
            if all(place is not None for place in places):
                hip, knee, ankle = (np.asarray(place) for place in places)
                lengths.append(float(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)))
        return float(np.mean(lengths)) if lengths and min(lengths) > 0 else None

    def limb_directions(self) -> dict[str, Float64[np.ndarray, "3"]]:
        """Upper end of each bone of a limb to where the bone points, in (left, up, front)."""
        found = {}
        for side in SIDES:
            for limb in LIMBS:
                for upper, lower in pairwise(limb):
                    ends = self.place(f"{side}_{upper}"), self.place(f"{side}_{lower}")
                    if ends[0] is None or ends[1] is None or np.linalg.norm(ends[1] - ends[0]) < 1e-9:
                        continue
                    bone = self.basis.T @ (ends[1] - ends[0])
                    found[f"{side}_{upper}"] = bone / np.linalg.norm(bone)
        return found

    @property
    def rests_in_t_pose(self) -> bool:
        """Whether the limbs of the rest are within 15 degrees of a T pose, as SMPL's are."""
        bones = self.limb_directions()
        aims = [bone @ _t_direction(part) for part, bone in bones.items()]
        return bool(aims and min(aims) > np.cos(np.radians(15)))

    def to_t_pose(self) -> Float64[np.ndarray, "j 3 3"]:
        """B_j: from the rest to the T pose, in the axes of the rest. Hands turn with the forearms; feet do not turn
        with the legs: soles are flat at rest."""
        B = np.tile(np.eye(3), (len(self.skeleton.names), 1, 1))
        bones, owner = self.limb_directions(), {joint: part for part, joint in self.parts.items()}
        for j in self.skeleton.order:
            part, parent = owner.get(j, ""), self.skeleton.parents[j]
            if parent >= 0:
                B[j] = B[parent]
            if part.endswith("_ankle"):
                B[j] = np.eye(3)
            elif part in bones:
                turned = self.basis.T @ B[j] @ self.basis @ bones[part]
                B[j] = self.basis @ shortest(turned, _t_direction(part)) @ self.basis.T @ B[j]
        return B

    def below(self, joint: int) -> list[int]:
        """A joint and all that hang on it."""
        found = [joint]
        for j in found:
            found += self.skeleton.children(j)
        return found


def _snapped(direction: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """The axis that is within 30 degrees of a direction, else the direction: bodies rest along the axes of their file,
    but the line from the hips to the neck leans as their joints happen to lie."""
    unit = direction / np.linalg.norm(direction)
    axis = int(np.abs(unit).argmax())
    return np.sign(unit[axis]) * np.eye(3)[axis] if abs(unit[axis]) > np.cos(np.radians(30)) else unit


def _t_direction(part: str) -> Float64[np.ndarray, "3"]:
    """Where a limb's bone points in a T pose, in (left, up, front)."""
    if part.endswith(("hip", "knee")):
        return np.array([0.0, -1.0, 0.0])
    return np.array([1.0 if part.startswith("left") else -1.0, 0.0, 0.0])


def shortest(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation that takes direction `a` to `b` the shortest way; opposite ones by half a turn."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    sine, cosine = float(np.linalg.norm(axis)), float(a @ b)
    if sine < 1e-12:
        if cosine > 0:
            return np.eye(3)
        axis, sine = np.cross(a, np.eye(3)[np.abs(a).argmin()]), 0.0
    axis = axis / np.linalg.norm(axis)
    return Rotation.from_rotvec(np.arctan2(sine, cosine) * axis).as_matrix()


@dataclass(frozen=True, eq=False)
class Matching:
    """A motion's skeleton beside the actor's."""

    source: NamedSkeleton
    target: NamedSkeleton
    pairs: dict[int, int]
    """The actor's joint to the motion's that drives it."""
    alignment: dict[int, Float64[np.ndarray, "3 3"]] = field(default_factory=dict)
    """B_s^T D^T B_t of each of the actor's joints that is driven."""
    is_own: bool = False
    """Whether the motion's bones are the actor's."""

    @property
    def idle(self) -> list[str]:
        """The actor's joints that nothing drives."""
        return [name for j, name in enumerate(self.target.skeleton.names) if j not in self.pairs]

    @property
    def unused(self) -> list[str]:
        """The motion's joints that drive nothing."""
        used = set(self.pairs.values())
        return [name for j, name in enumerate(self.source.skeleton.names) if j not in used]

    @cached_property
    def D(self) -> Float64[np.ndarray, "3 3"]:
        """From the axes of the motion's rest to those of the actor's."""
        return self.target.basis @ self.source.basis.T

    @cached_property
    def is_one_rest(self) -> bool:
        """Whether all limbs of both point the same way at rest."""
        ours, theirs = self.target.limb_directions(), self.source.limb_directions()
        both = [ours[part] @ theirs[part] for part in ours if part in theirs]
        return bool(both and min(both) > np.cos(ALIKE))

    def is_one_body(self, scale: float) -> bool:
        """Whether all driven bones of both are the same within 2 mm, `scale` metres a unit of the motion's."""
        for j, s in self.pairs.items():
            parent = self.target.skeleton.parents[j]
            if parent not in self.pairs:
                continue
            ours = self.target.skeleton.rest[j] - self.target.skeleton.rest[parent]
            theirs = self.source.skeleton.rest[s] - self.source.skeleton.rest[self.pairs[parent]]
            if np.linalg.norm(ours - scale * self.D @ theirs) > 2e-3:
                return False
        return True


def match(source: Skeleton, target: Skeleton, given: Mapping[str, str] | None = None) -> Matching:
    """Pair the joints by their names; `given`: the motion's names to the actor's, which go before that.

    Raises UserError, one line, where a given name does not exist, or nothing matches.
    """
    ours = NamedSkeleton.of(target)
    theirs = NamedSkeleton.of(_renamed(source, target, given) if given else source)
    pairs = {ours.parts[part]: j for part, j in theirs.parts.items() if part in ours.parts}
    pairs |= _spines(ours.spine, theirs.spine)
    if given:
        names = {name: j for j, name in enumerate(target.names)}
        pairs |= {names[to]: source.names.index(name) for name, to in given.items()}
    if not pairs:
        found = f"none of its joints ({', '.join(source.names[:10])}{', ...' if len(source.names) > 10 else ''})"
        own = f"{', '.join(target.names[:10])}{', ...' if len(target.names) > 10 else ''}"
        expected = f'say which is which in a file {{"THEIRS": "OURS", ...}}, --joints map.json; ours are {own}'
        raise UserError(f"{found} has a name that is known: {expected}")
    return Matching(theirs, ours, pairs)


def _renamed(source: Skeleton, target: Skeleton, given: Mapping[str, str]) -> Skeleton:
    """The motion's skeleton with the names that the user gives."""
    for name, known, what in (
        *((n, source.names, "the motion") for n in given),
        *((n, target.names, "the actor") for n in given.values()),
    ):
        if name not in known:
            raise UserError(f"--joints: {what} has no joint {name!r}; it has: {', '.join(known)}")
    return Skeleton(tuple(given.get(name, name) for name in source.names), source.parents, source.rest)


def _spines(ours: list[int], theirs: list[int]) -> dict[int, int]:
    """Pairs along the spine: the highest joint of one drives the highest of the other, the rest evenly below."""
    m, n = len(ours), len(theirs)
    if not n or not m:
        return {}
    if n >= m:
        return {ours[k]: theirs[round((k + 1) * n / m) - 1] for k in range(m)}
    return {ours[round((k + 1) * m / n) - 1]: theirs[k] for k in range(n)}


SOME_FRAMES = 128
"""Frames that are looked at for how the feet stand."""


def aligned(matching: Matching, clip: MotionClip, up: Float64[np.ndarray, "3"], scale: float) -> Matching:
    """The same with B_s^T D^T B_t of each pair; `up` in the file's axes, `scale` metres a unit of it. One rest on both
    sides needs no T pose."""
    D, is_own = matching.D, matching.is_one_body(scale)
    if matching.is_one_rest:
        return replace(matching, alignment=dict.fromkeys(matching.pairs, D.T), is_own=is_own)
    B_s, B_t = matching.source.to_t_pose(), matching.target.to_t_pose()
    for side in SIDES:
        _settle_foot(matching.source, B_s, clip, up, side)
    found = {j: B_s[s].T @ D.T @ B_t[j] for j, s in matching.pairs.items()}
    return replace(matching, alignment=found, is_own=is_own)


def _settle_foot(
    source: NamedSkeleton, B: Float64[np.ndarray, "j 3 3"], clip: MotionClip, up: Float64[np.ndarray, "3"], side: str
) -> None:
    """Decide whether a motion's sole is flat at rest, or where the leg has been straightened (the feet of a skeleton
    whose legs are spread at rest are often spread with them): whichever it is where it stands, when it is low."""
    ankle, knee = (source.parts.get(f"{side}_{part}") for part in ("ankle", "knee"))
    if ankle is None or knee is None:
        return
    some = np.unique(np.linspace(0, clip.num_frames - 1, SOME_FRAMES).round().astype(int))
    frames = [clip.world(int(i), int(i) + 1) for i in some]
    heights = np.array([p[0, ankle] @ up for _, p in frames])
    standing = np.stack([G[0, ankle] for G, _ in frames])[heights <= np.percentile(heights, 30)]
    left, down, _ = source.basis.T @ (source.skeleton.rest[ankle] - source.skeleton.rest[knee])
    # Sideways alone: how far the ankle lies before or behind the knee is the joints' place, and not the pose.
    spread = source.basis @ shortest(np.array([left, down, 0.0]), np.array([0.0, -1.0, 0.0])) @ source.basis.T
    flat_up, spread_up = (standing.mean(axis=0) @ K.T @ source.basis[:, 1] for K in (B[ankle], spread))
    if spread_up @ up > flat_up @ up:  # both as long: the mean rotation is one
        for j in source.below(ankle):
            B[j] = spread
