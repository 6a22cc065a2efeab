"""An actor of 24 joints and a few points round each, for tests of motions; and a naive float64 kinematics of its own.

The rest is given: a T pose with bones of nobody's lengths, or an A pose. World and rest: y up, faces z, metres.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from na_ray.capture.rig import Rig
from na_ray.capture.skeleton import Skeleton
from na_ray.motion.trained_poses import TrainedPoses

NAMES = [
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
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]


def rest_of(arms: float = 0.0) -> np.ndarray:
    """(24, 3): the arms hang `arms` degrees below the horizontal; the left leg stands out by 4 degrees."""
    down, out = np.sin(np.radians(arms)), np.cos(np.radians(arms))
    steps = {
        "pelvis": (0.0, 0.02, 0.01),
        "hip": (0.09, -0.04, 0.0),
        "knee": (0.027, -0.39, 0.0),
        "ankle": (0.0, -0.41, -0.01),
        "foot": (0.02, -0.06, 0.13),
        "spine1": (0.0, 0.11, -0.01),
        "spine2": (0.0, 0.13, 0.01),
        "spine3": (0.0, 0.06, 0.0),
        "neck": (0.0, 0.2, -0.02),
        "head": (0.0, 0.1, 0.03),
        "collar": (0.07, 0.12, -0.01),
        "shoulder": (0.1, 0.02, 0.0),
        "elbow": (0.27 * out, -0.27 * down, -0.01),
        "wrist": (0.25 * out, -0.25 * down, 0.01),
        "hand": (0.08 * out, -0.08 * down, 0.0),
    }
    rest = np.zeros((24, 3))
    for j, name in enumerate(NAMES):
        side, _, part = name.partition("_")
        step = np.array(steps[part or side]) * ([-1, 1, 1] if side == "right" else [1, 1, 1])
        rest[j] = step + (rest[PARENTS[j]] if PARENTS[j] >= 0 else 0)
    return rest


def kinematics(rest: np.ndarray, rotvecs: np.ndarray, place: np.ndarray, parents=PARENTS) -> tuple:
    """(world rotations, world places) of one frame, joint after joint."""
    turns, places = [], []
    for j, parent in enumerate(parents):
        own = Rotation.from_rotvec(rotvecs[j])
        if parent < 0:
            turns.append(own)
            places.append(place)
        else:
            turns.append(turns[parent] * own)
            places.append(places[parent] + turns[parent].apply(rest[j] - rest[parent]))
    return np.stack([turn.as_matrix() for turn in turns]), np.stack(places)


@dataclass(frozen=True)
class StickActor:
    """Its bones, its body and its training poses."""

    rest: np.ndarray
    rotvecs: np.ndarray
    """(n, 24, 3) of a motion that it was trained on."""
    places: np.ndarray
    """(n, 3)."""
    rig: Rig
    trained: TrainedPoses


def dance(count: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rotvecs, places) of a smooth motion without hands: every joint turns by up to 40 degrees."""
    generator = np.random.default_rng(seed)
    phase, axis = generator.uniform(0, 6, (24, 3)), generator.uniform(-0.4, 0.4, (24, 3))
    time = np.arange(count)[:, None, None] / 4
    rotvecs = axis * np.sin(time + phase)
    rotvecs[:, 22:] = 0
    heading = Rotation.from_rotvec(np.linspace(0, 2.0, count)[:, None] * np.array([0, 1, 0]))
    rotvecs[:, 0] = (heading * Rotation.from_rotvec(0.3 * rotvecs[:, 0])).as_rotvec()
    at = np.arange(count) / 4
    places = np.stack([0.4 * np.sin(at), 0.92 + 0.02 * np.cos(at), 0.3 * at], axis=1)
    return rotvecs, places


def stick_actor(arms: float = 0.0, seed: int = 0, rest: np.ndarray | None = None) -> StickActor:
    """An actor that was trained on `dance`."""
    rest = rest_of(arms) if rest is None else rest
    rotvecs, places = dance(seed=seed)
    around = np.array([[1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1.0]]) * 0.03
    vertices = (rest[:, None] + around).reshape(-1, 3).astype(np.float32)
    faces = np.array([[4 * j + a, 4 * j + b, 4 * j + c] for j in range(24) for a, b, c in ((0, 1, 2), (0, 2, 3))])
    uv = np.tile(np.array([[0, 0], [1, 0], [0, 1.0]], np.float32), (1, 1))
    weights = np.repeat(np.eye(24, dtype=np.float32), 4, axis=0)
    tpose = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
    rig = Rig(vertices, faces, uv, np.tile(np.arange(3), (len(faces), 1)), weights, tpose)
    skeleton = Skeleton(tuple(NAMES), tuple(PARENTS), rest)
    quaternions = Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_quat().reshape(-1, 24, 4).astype(np.float32)
    up = np.array([0.0, 1.0, 0.0])
    trained = TrainedPoses(skeleton, quaternions, up, lowest_sole(rest, rotvecs, places))
    return StickActor(rest, rotvecs, places, rig, trained)


def lowest_sole(rest: np.ndarray, rotvecs: np.ndarray, places: np.ndarray) -> float:
    """The fifth percentile of the frames' lowest points round ankles and feet."""
    lows = []
    for r, p in zip(rotvecs, places, strict=True):
        turns, joints = kinematics(rest, r, p)
        around = np.array([[1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1.0]]) * 0.03
        lows.append(min((joints[j] + around @ turns[j].T)[:, 1].min() for j in (7, 8, 10, 11)))
    return float(np.percentile(lows, 5))


def write_lines(path: Path, *lines: str) -> Path:
    """A text file."""
    path.write_text("\n".join(lines) + "\n")
    return path
