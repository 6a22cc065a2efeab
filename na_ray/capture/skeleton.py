"""The joints of an actor: their names, their parents, and where they are at rest.

The published layout names no joints: 24 of them are taken for SMPL's where the poses agree with SMPL's tree; otherwise
`capture.json` says, or parents are inferred. Symbols: A_j = `joints_RT[j]`, r_j joint j at rest (canonical, metres).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from na_ray.capture.about import NAME, read_about
from na_ray.capture.dataset import Split
from na_ray.capture.rig import Pose
from na_ray.capture.storage import join
from na_ray.config.values import UserError

SMPL_JOINTS = [
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
]
"""SMPL's joints in its order."""

SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each of SMPL's joints; -1 for the root."""

SOME_POSES = 32
"""Poses that rest joints and parents are found from, evenly spaced."""

SAME_PLACE = 2e-3
"""Two transforms take a joint to one place where these are no farther apart, m."""


@dataclass(frozen=True, eq=False)
class Skeleton:
    """A tree of joints at rest."""

    names: tuple[str, ...]
    """Name of each joint; `joint_7` where nobody names it."""
    parents: tuple[int, ...]
    """Parent of each joint; -1 for a root. A parent may come after its child."""
    rest: Float64[np.ndarray, "j 3"]
    """Joints where all rotations are zero; metres, or the units of the file that they are from."""

    @property
    def order(self) -> tuple[int, ...]:
        """The joints, parents first."""
        found: list[int] = []
        waiting = list(range(len(self.parents)))
        while waiting:
            ready = [j for j in waiting if self.parents[j] < 0 or self.parents[j] in found]
            assert ready, "the parents form a ring"
            found += ready
            waiting = [j for j in waiting if j not in ready]
        return tuple(found)

    def children(self, joint: int) -> list[int]:
        """The joints whose parent this one is."""
        return [j for j, parent in enumerate(self.parents) if parent == joint]


def skeleton_of(split: Split) -> Skeleton:
    """The skeleton of a capture's body, as one of its motions shows it. Raises UserError, one line, where poses are
    not those of any tree."""
    chosen = np.unique(np.linspace(0, split.num_frames - 1, SOME_POSES).round().astype(int))
    root = split.files.root
    named = named_joints(read_about(root).get("joints"), join(root, NAME))
    return find_skeleton([split.pose(int(i)) for i in chosen], split.files.folder, named)


def find_skeleton(
    poses: Sequence[Pose], where: str, named: tuple[tuple[str, ...], tuple[int, ...]] | None = None
) -> Skeleton:
    """The skeleton that poses of one body show; `named`: (names, parents), where somebody says."""
    rest = rest_joints(poses)
    count = len(rest)
    if named is not None:
        if len(named[0]) != count:
            found = f"names {len(named[0])} joints, but the poses in {where} have {count}"
            raise UserError(f"{NAME} {found}: name them all, or leave 'joints' out")
        return Skeleton(*named, rest)
    gaps = _gaps(poses, rest)
    if count == len(SMPL_JOINTS):
        apart = max(gaps[p, j] for j, p in enumerate(SMPL_PARENTS) if p >= 0)
        if apart <= SAME_PLACE:
            return Skeleton(tuple(SMPL_JOINTS), SMPL_PARENTS, rest)
    return Skeleton(tuple(f"joint_{j}" for j in range(count)), _inferred_parents(gaps, rest), rest)


def rest_joints(poses: Sequence[Pose]) -> Float64[np.ndarray, "j 3"]:
    """r_j = A_j^-1 (joints_j - translation) rotation^-1, the mean over the poses; canonical, metres."""
    found = []
    for pose in poses:
        world = pose.joints.astype(np.float64) - pose.translation
        posed = np.linalg.solve(pose.rotation.astype(np.float64).T, world.T).T
        A = pose.joints_RT.astype(np.float64)
        found.append(np.linalg.solve(A[:, :3, :3], (posed - A[:, :3, 3])[..., None])[..., 0])
    return np.mean(found, axis=0)


def _gaps(poses: Sequence[Pose], rest: Float64[np.ndarray, "j 3"]) -> Float64[np.ndarray, "j j"]:
    """[p, j]: how far apart A_p and A_j take joint j in the worst pose, m: zero for a joint's parent."""
    worst = np.zeros((len(rest), len(rest)))
    for pose in poses:
        A = pose.joints_RT.astype(np.float64)
        placed = np.einsum("pab,jb->pja", A[:, :3, :3], rest) + A[:, None, :3, 3]
        own = placed[np.arange(len(rest)), np.arange(len(rest))]
        worst = np.maximum(worst, np.linalg.norm(placed - own, axis=-1))
    return worst


def _inferred_parents(gaps: Float64[np.ndarray, "j j"], rest: Float64[np.ndarray, "j 3"]) -> tuple[int, ...]:
    """The first joint is the root. A joint hangs on the nearest, among those already in the tree, that takes it to
    its own place in all poses; on the one that comes closest to that where none does."""
    parents, placed = [-1] * len(rest), [0]
    distances = np.linalg.norm(rest[:, None] - rest[None], axis=-1)
    while len(placed) < len(rest):
        left = [j for j in range(len(rest)) if j not in placed]
        cost = np.maximum(gaps[np.ix_(placed, left)], SAME_PLACE) * 1e3 + distances[np.ix_(placed, left)]
        row, column = np.unravel_index(int(cost.argmin()), cost.shape)
        parents[left[column]] = placed[row]
        placed.append(left[column])
    return tuple(parents)


def named_joints(joints: object, where: str) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """(names, parents) of what `capture.json` or `actor.json` has under `joints`; None where that is nothing."""
    if joints is None:
        return None
    expected = "expected a list of {name, parent}, the parent a name, a number or null: mend it, or leave it out"
    if not isinstance(joints, list) or not all(isinstance(j, dict) and isinstance(j.get("name"), str) for j in joints):
        raise UserError(f"{where}: joints is no list of joints; {expected}")
    names = tuple(joint["name"] for joint in joints)
    known: dict[object, int] = {None: -1, -1: -1, **{i: i for i in range(len(names))}}
    known |= {name: i for i, name in enumerate(names)}
    wrong = next((joint for joint in joints if _key(joint.get("parent")) not in known), None)
    if wrong is not None:
        raise UserError(f"{where}: joints: {wrong['name']} hangs on {wrong.get('parent')!r}, which is none; {expected}")
    parents = tuple(known[_key(joint.get("parent"))] for joint in joints)
    if not _is_forest(parents):
        raise UserError(f"{where}: joints: the parents form a ring; {expected}")
    return names, parents


def _key(value: object) -> object:
    """What a parent may be looked up by; a list, say, is none."""
    return value if value is None or isinstance(value, str | int) else object()


def _is_forest(parents: Sequence[int]) -> bool:
    """Whether every joint leads to a root."""
    for start in range(len(parents)):
        joint, steps = start, 0
        while joint >= 0:
            joint, steps = parents[joint], steps + 1
            if steps > len(parents):
                return False
    return True
