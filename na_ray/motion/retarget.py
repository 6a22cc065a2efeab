"""A motion of another body, brought to the actor: joint by joint, at its size, upright and on the ground.

Symbols: G_s, p_s the motion's rotations and places (file axes and unit); Q_t, p_t the actor's (world, metres).
C takes the file's axes to the world's. A joint that is driven turns as Q_t = C G_s (B_s^T D^T B_t), where the bracket
(`na_ray.motion.matching`) makes both stand alike where both are in the T pose.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.rig import Rig
from na_ray.config.values import UserError
from na_ray.formats.clip import MotionClip
from na_ray.motion.matching import SIDES, Matching, NamedSkeleton, aligned, match, shortest
from na_ray.motion.posed import JointMotion
from na_ray.motion.trained_poses import MOST_HEIGHTS, TrainedPoses, ground_of, lowest_points

FIRST_SECONDS = 1.0
"""Of a motion, in which its up axis is looked for."""

NEAR_AXIS = np.cos(np.radians(40))
"""An axis is up where the body stands along it within 40 degrees."""

ON_GROUND = 0.03
"""A motion of the actor's own body is not lifted where its feet are this near to the ground, m."""

CHUNK = 512
"""Frames that are turned at a time."""

UNITS = {"metre": 1.0, "decimetre": 0.1, "inch": 0.0254, "centimetre": 0.01, "millimetre": 0.001}


@dataclass(frozen=True, eq=False)
class Placing:
    """What a user may say of a file instead of having it measured."""

    unit: float | None = None
    """Metres a unit; None: by the length of the legs."""
    up: str | None = None
    """The file's up axis, as `y` or `-z`; None: as the body stands in the first second."""
    joints: Mapping[str, str] | None = None
    """The file's joints to the actor's, where the names do not tell."""


def retarget(
    clip: MotionClip, trained: TrainedPoses, rig: Rig, placing: Placing | None = None
) -> tuple[JointMotion, list[str]]:
    """The motion on the actor, and what the user should know of how it got there, a line each.

    Raises UserError, one line, where no joint is known, or unit or up axis cannot be told.
    """
    matching, motion, told = _placed(clip, trained, placing or Placing())
    lift, told_ground = _lift(motion, trained, rig, matching.is_own)
    lines = [*clip.notes, f"{told}; {told_ground}", *_told_joints(matching)]
    return JointMotion(trained.skeleton, motion.rotvecs, motion.places + lift * trained.up, clip.fps), lines


def sole_height(clip: MotionClip, trained: TrainedPoses, rig: Rig, placing: Placing) -> float:
    """Height at which the feet would stand if the motion were not lifted, m."""
    _, motion, _ = _placed(clip.some(MOST_HEIGHTS), trained, placing)
    return _ground(motion, trained, rig)


def _placed(clip: MotionClip, trained: TrainedPoses, placing: Placing) -> tuple[Matching, JointMotion, str]:
    """The motion on the actor at the height that its file has; and what was measured, in words."""
    try:
        matching = match(clip.skeleton, trained.skeleton, placing.joints)
        C, told_up = _upright(clip, matching, trained, placing.up)
        scale, told_unit = _scale(matching, placing.unit)
    except UserError as error:
        raise UserError(f"{clip.source}: {error}") from None
    matching = aligned(matching, clip, C.T @ trained.up, scale)
    rotvecs, places = turned(clip, matching, C, scale)
    return matching, JointMotion(trained.skeleton, rotvecs, places, clip.fps), f"{told_unit}; {told_up}"


def _told_joints(matching: Matching) -> list[str]:
    """Which joints were matched, and which were not."""
    names = matching.target.skeleton.names
    lines = [f"joints: {len(matching.pairs)} of the actor's {len(names)} are driven"]
    if len(matching.pairs) <= 6:
        theirs = matching.source.skeleton.names
        lines[0] += ": " + ", ".join(f"{names[j]} by {theirs[s]}" for j, s in sorted(matching.pairs.items()))
    if matching.idle:
        lines.append(f"not driven, they follow their parents: {', '.join(matching.idle)}")
    if matching.unused:
        unused = matching.unused
        lines.append(
            f"of the motion's joints these drive nothing: {', '.join(unused[:24])}{', ...' * (len(unused) > 24)}"
        )
    return lines


def _upright(
    clip: MotionClip, matching: Matching, trained: TrainedPoses, said: str | None
) -> tuple[Float64[np.ndarray, "3 3"], str]:
    """(C, from the file's axes to the world's; which axis is up, for the user)."""
    if said is None:
        up = _standing(clip, matching.source)
        told = f"up is {_axis_name(up)}, as the body stands in the first second"
    else:
        up, told = axis_of(said), f"up is {said}, as given"
    # Half a turn for a file that stands on its head in our axes; a quarter at most otherwise.
    return shortest(up, trained.up), told


def _standing(clip: MotionClip, source: NamedSkeleton) -> Float64[np.ndarray, "3"]:
    """The axis along which the body stands at first."""
    G, p = clip.world(0, min(clip.num_frames, max(1, round(FIRST_SECONDS * clip.fps))))
    feet = [source.parts[f"{s}_{p_}"] for s in SIDES for p_ in ("ankle", "knee", "hip") if f"{s}_{p_}" in source.parts]
    ankles = [source.parts[f"{s}_ankle"] for s in SIDES if f"{s}_ankle" in source.parts]
    low = ankles or feet[:1] or [source.pelvis]
    high = source.parts.get("head", source.parts.get("neck", source.spine[-1] if source.spine else None))
    # A body without a head stands as its pelvis does.
    ways = G[:, source.pelvis] @ source.basis[:, 1] if high is None else p[:, high] - p[:, low].mean(axis=1)
    way = ways.mean(axis=0)
    way = way / max(float(np.linalg.norm(way)), 1e-12)
    axis = int(np.abs(way).argmax())
    if abs(way[axis]) < NEAR_AXIS:
        raise UserError("the body does not stand along an axis in the first second: say which is up, --up y")
    return np.sign(way[axis]) * np.eye(3)[axis]


def axis_of(text: str) -> Float64[np.ndarray, "3"]:
    """An axis by its name, as `y`, `+z` or `-x`. Raises UserError for anything else."""
    letter = text.lower().lstrip("+-")
    if letter not in ("x", "y", "z") or text[:-1] not in ("", "+", "-"):
        raise UserError(f"no axis {text!r}: expected x, y, z, -x, -y or -z")
    return (-1.0 if text.startswith("-") else 1.0) * np.eye(3)["xyz".index(letter)]


def _axis_name(axis: Float64[np.ndarray, "3"]) -> str:
    index = int(np.abs(axis).argmax())
    return ("-" if axis[index] < 0 else "") + "xyz"[index]


def _scale(matching: Matching, unit: float | None) -> tuple[float, str]:
    """(metres of the actor a unit of the motion; that in words)."""
    if unit is not None:
        return unit, f"a unit is {unit:g} m, as given"
    ours, theirs = matching.target.leg, matching.source.leg
    if ours is None or theirs is None:
        who = "the motion" if theirs is None else "the actor"
        raise UserError(
            f"its unit cannot be measured, since {who} has no whole leg ({_told_pairs(matching)}): "
            "give the metres of a unit, as --unit 0.01"
        )
    scale = ours / theirs
    # The leg of a body of another size is ours: what is said is the unit that the body would be of a person's size in.
    near = min(UNITS, key=lambda name: abs(np.log(theirs * UNITS[name] / 0.8)))
    plausible = 0.5 < theirs * UNITS[near] < 1.2
    like = f"like {near}s" if plausible else "no common unit"
    return scale, f"a unit becomes {scale:.4g} m ({like}): the leg of {theirs:.4g} is the actor's of {ours:.3f} m"


def _told_pairs(matching: Matching) -> str:
    names, theirs = matching.target.skeleton.names, matching.source.skeleton.names
    pairs = [f"{theirs[s]} is {names[j]}" for j, s in sorted(matching.pairs.items())]
    return f"matched: {', '.join(pairs[:8])}{', ...' if len(pairs) > 8 else ''}"


def turned(
    clip: MotionClip, matching: Matching, C: Float64[np.ndarray, "3 3"], scale: float
) -> tuple[Float64[np.ndarray, "n j 3"], Float64[np.ndarray, "n 3"]]:
    """(axis-angles of the actor's joints relative to their parents, places of its root)."""
    target = matching.target.skeleton
    root, hips = target.parents.index(-1), list(matching.source.hips)
    arm = target.rest[list(matching.target.hips)].mean(axis=0) - target.rest[root]
    rotvecs, places = np.empty((clip.num_frames, len(target.names), 3)), np.empty((clip.num_frames, 3))
    for start in range(0, clip.num_frames, CHUNK):
        G, p = clip.world(start, min(start + CHUNK, clip.num_frames))
        driven = {j: C @ G[:, s] @ matching.alignment[j] for j, s in matching.pairs.items()}
        Q = _whole(matching, driven, np.broadcast_to(C @ matching.D.T, (len(G), 3, 3)))
        local = np.stack(
            [Q[:, j] if q < 0 else Q[:, q].transpose(0, 2, 1) @ Q[:, j] for j, q in enumerate(target.parents)], axis=1
        )
        stop = start + len(G)
        rotvecs[start:stop] = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_rotvec().reshape(len(G), -1, 3)
        places[start:stop] = scale * p[:, hips].mean(axis=1) @ C.T - Q[:, matching.target.pelvis] @ arm
    return rotvecs, places


def _whole(
    matching: Matching, driven: dict[int, Float64[np.ndarray, "n 3 3"]], upright: Float64[np.ndarray, "n 3 3"]
) -> Float64[np.ndarray, "n j 3 3"]:
    """Rotations of all joints: those that nothing drives share the bend of the spine, or follow their parents."""
    target = matching.target.skeleton
    Q = np.empty((len(upright), len(target.names), 3, 3))
    chain = [matching.target.pelvis, *matching.target.spine]
    for j in target.order:
        parent = target.parents[j]
        Q[:, j] = driven[j] if j in driven else upright if parent < 0 else Q[:, parent]
        above = [k for k in chain if k in driven and chain.index(k) > chain.index(j)] if j in chain[1:] else []
        if j not in driven and above:
            low, high = Q[:, parent], driven[above[0]]
            bend = Rotation.from_matrix(low.transpose(0, 2, 1) @ high).as_rotvec()
            share = 1 / (chain.index(above[0]) - chain.index(j) + 1)
            Q[:, j] = low @ Rotation.from_rotvec(bend * share).as_matrix()
    return Q


def _lift(motion: JointMotion, trained: TrainedPoses, rig: Rig, is_own: bool) -> tuple[float, str]:
    """(how far the motion is to be lifted, m; that in words). The actor's own stays where it stands on the ground."""
    lift = trained.ground - _ground(motion, trained, rig)
    if is_own and abs(lift) <= ON_GROUND:
        return 0.0, "the feet are on the ground as they are"
    return lift, f"{'lifted' if lift > 0 else 'lowered'} by {abs(lift):.3f} m, so that the feet are on the ground"


def _ground(motion: JointMotion, trained: TrainedPoses, rig: Rig) -> float:
    """Height of what the motion stands on, m."""
    some = np.unique(np.linspace(0, motion.num_frames - 1, MOST_HEIGHTS).round().astype(int))
    poses = [motion.pose(int(i)) for i in some]
    return ground_of(lowest_points(rig, motion.skeleton, poses, trained.up))
