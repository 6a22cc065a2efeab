"""How the figure moves: a walk that turns (training) and a routine of reaching, bending and dancing (testing).

Motions are functions of time in seconds, so that velocities do not depend on how densely frames are taken.
Angles in the tables are degrees about x, y and z of the rest axes, applied in the order z, x, y.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from na_ray.synthetic.skeleton import NAMES, REST, forward_kinematics, hinge_axis, index

Angles = dict[str, tuple[float, float, float]]

# Frames a second that a long clip is played at, and the seconds that a short one still covers.
FRAME_RATE = 10.0
WALK_SECONDS, ROUTINE_SECONDS = 3.2, 4.8

# Walk: steps cycle at CADENCE (Hz) along a circle that is run through once in WALK_SECONDS; feet slide a little.
CADENCE, SPEED = 0.94, 0.55


@dataclass(frozen=True)
class Moment:
    """The figure at one time."""

    rotvecs: Float[ndarray, "24 3"]
    """Axis-angle of each joint relative to its parent (radians); the root's is zero."""
    rotation: Float[ndarray, "3 3"]
    """Of the root: world = rotation @ v + translation (files hold its transpose)."""
    translation: Float[ndarray, "3"]
    """Metres."""

    @cached_property
    def transforms(self) -> Float[ndarray, "24 4 4"]:
        """Rest to posed space, un-rotated."""
        return forward_kinematics(self.rotvecs)

    @cached_property
    def joints(self) -> Float[ndarray, "24 3"]:
        """World positions of the joints."""
        posed = np.einsum("jab,jb->ja", self.transforms[:, :3, :3], REST) + self.transforms[:, :3, 3]
        return self.to_world(posed)

    def to_world(self, points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
        """Posed space to the world."""
        return points @ self.rotation.T + self.translation


MotionCurve = Callable[[float], Moment]


def _moment(angles: Angles, heading: Float[ndarray, "3 3"], place: tuple[float, float, float]) -> Moment:
    rotvecs = np.zeros((len(NAMES), 3))
    for name, (x, y, z) in angles.items():
        if name.endswith("elbow"):
            # x bends the forearm forward, y twists it about itself.
            side = name.split("_")[0]
            forearm = REST[index(f"{side}_wrist")] - REST[index(name)]
            twist = Rotation.from_rotvec(np.radians(y) * forearm / np.linalg.norm(forearm))
            rotation = Rotation.from_rotvec(np.radians(x) * hinge_axis(side)) * twist
        else:
            rotation = Rotation.from_euler("zxy", (z, x, y), degrees=True)
        rotvecs[index(name)] = rotation.as_rotvec()
    return Moment(rotvecs, heading, np.array(place))


def _about(x: float, y: float, z: float) -> Float[ndarray, "3 3"]:
    """Lean (x), heading (y) and list (z) of the root, degrees."""
    return Rotation.from_euler("zxy", (z, x, y), degrees=True).as_matrix()


def walk(phase: float, heading: float, turn: float) -> MotionCurve:
    """A walk on a circle; `phase` (radians) and `heading` (degrees) are those at time 0, `turn` is 1 or -1."""

    def at(t: float) -> Moment:
        stride = phase + 2 * np.pi * CADENCE * t
        vigor = 1.0 + 0.18 * np.sin(0.9 * t + phase)
        angles: Angles = {}
        for side, sign, p in (("left", 1.0, stride), ("right", -1.0, stride + np.pi)):
            angles |= _walking_side(side, sign, p, vigor)
        twist = np.sin(stride)
        angles |= {
            "spine1": (3.0, 2.5 * twist, 1.2 * np.sin(stride)),
            "spine2": (1.0, 3.5 * twist, 0.8 * np.sin(stride)),
            "spine3": (1.0, 3.0 * twist, 0.0),
            "neck": (4.0, -3.0 * twist + 10.0 * np.sin(1.7 * t + phase), 0.0),
            "head": (-3.0 + 4.0 * np.sin(2.3 * t), 14.0 * np.sin(1.7 * t + phase), 4.0 * np.sin(1.1 * t)),
        }
        rate = turn * 2 * np.pi / WALK_SECONDS
        course = np.radians(heading) + rate * t
        radius = SPEED / rate
        place = (-radius * np.cos(course), 0.0, radius * np.sin(course))
        root = _about(3.0, float(np.degrees(course)) - 5.0 * twist, 2.2 * np.cos(stride) + 3.0 * turn)
        return _moment(angles, root, place)

    return at


def _walking_side(side: str, sign: float, p: float, vigor: float) -> Angles:
    """Arm and leg of one side; the thigh is foremost at p = pi / 2 and swings forward round p = 0."""
    hip = (5.0 + 25.0 * np.sin(p)) * vigor
    knee = 7.0 + 44.0 * vigor * ((1.0 + np.cos(p + 0.45)) / 2) ** 2 + 8.0 * np.sin(p) ** 2
    ankle = -6.0 + 0.35 * (hip - knee) + 10.0 * np.cos(p - 0.6)
    toe_off = max(0.0, -np.sin(p + 0.25)) ** 2
    swing = -(4.0 + 27.0 * np.sin(p + np.pi)) * vigor
    return {
        f"{side}_hip": (-hip, 4.0 * sign, 2.0 * sign),
        f"{side}_knee": (knee, 0.0, 0.0),
        f"{side}_ankle": (-ankle if ankle > 0 else -0.6 * ankle, 4.0 * sign, 0.0),
        f"{side}_foot": (-22.0 * toe_off, 0.0, 0.0),
        f"{side}_collar": (0.0, -0.1 * sign * swing, -3.0 * sign),
        f"{side}_shoulder": (swing, -6.0 * sign, -25.0 * sign),
        f"{side}_elbow": (20.0 + 16.0 * vigor * max(0.0, np.sin(p + np.pi)) + 6.0 * vigor, 0.0, 0.0),
        f"{side}_wrist": (0.0, 0.0, -4.0 * sign),
    }


_DOWN: Angles = {
    "left_shoulder": (4, -6, -24),
    "right_shoulder": (4, 6, 24),
    "left_elbow": (22, 0, 0),
    "right_elbow": (22, 0, 0),
}

# Key poses of the routine: time as a share of the whole, root (lean, heading, list), and what differs from rest.
ROUTINE: tuple[tuple[float, tuple[float, float, float], Angles], ...] = (
    (0.00, (0, 0, 0), _DOWN),
    (0.14, (0, -12, -3), _DOWN | {
        "right_shoulder": (-60, 0, -70), "right_collar": (0, 0, -18), "right_elbow": (18, 0, 0), "spine2": (-6, -8, 8),
        "spine3": (-5, -6, 6), "neck": (-12, -8, 0), "head": (-14, -12, 0), "left_hip": (4, 0, 4)}),
    (0.30, (10, 8, 0), _DOWN | {
        "spine1": (20, 6, 0), "spine2": (20, 8, 0), "spine3": (14, 8, 0), "neck": (10, 0, 0),
        "left_shoulder": (-40, 0, -30), "right_shoulder": (-34, 0, 28), "left_elbow": (14, 0, 0),
        "right_elbow": (14, 0, 0), "left_hip": (-28, 0, 4), "right_hip": (-28, 0, -4), "left_knee": (34, 0, 0),
        "right_knee": (34, 0, 0), "left_ankle": (-16, 0, 0), "right_ankle": (-16, 0, 0)}),
    (0.46, (0, 24, 0), _DOWN | {
        "left_shoulder": (-72, 0, -8), "right_shoulder": (-72, 0, 8), "left_elbow": (48, 0, 0),
        "right_elbow": (48, 0, 0), "spine2": (-4, 14, 0), "spine3": (0, 12, 0), "head": (0, 12, 0),
        "left_hip": (-6, 0, 5)}),
    (0.62, (0, 4, 5), _DOWN | {
        "left_shoulder": (-10, 0, 44), "left_collar": (0, 0, 14), "left_elbow": (46, 0, 0),
        "right_shoulder": (-8, 20, 8), "right_elbow": (92, 0, 0), "spine1": (0, -6, -10), "spine2": (0, -8, -10),
        "neck": (0, 0, -8), "head": (4, -12, -8), "right_hip": (-46, -8, -8), "right_knee": (66, 0, 0),
        "right_ankle": (14, 0, 0)}),
    (0.80, (4, -30, -4), _DOWN | {
        "left_shoulder": (-16, 0, 52), "right_shoulder": (-16, 0, -52), "left_elbow": (74, 0, 0),
        "right_elbow": (74, 0, 0), "left_collar": (0, 0, 12), "right_collar": (0, 0, -12), "spine1": (2, -8, 8),
        "spine2": (2, -8, 6), "head": (-6, 16, 4), "left_hip": (-20, 0, 10), "right_hip": (-14, 0, -12),
        "left_knee": (34, 0, 0), "right_knee": (26, 0, 0), "left_ankle": (-12, 0, -8), "right_ankle": (-10, 0, 8)}),
    (1.00, (0, -6, 0), _DOWN | {"left_shoulder": (-30, 0, -10), "left_elbow": (70, 0, 0), "right_hip": (-10, 0, -4)}),
)  # fmt: skip


def routine(heading: float, mirror: float) -> MotionCurve:
    """The routine, to and fro; `heading` in degrees, `mirror` -1 swaps left and right."""
    times = np.array([time for time, _, _ in ROUTINE])
    table = np.zeros((len(ROUTINE), len(NAMES), 3))
    for k, (_, root, angles) in enumerate(ROUTINE):
        for name, value in (angles | {"pelvis": root}).items():
            side, _, rest = name.partition("_")
            swapped = {"left": "right_", "right": "left_"}.get(side, "") + rest if mirror < 0 and rest else name
            # Mirroring in x keeps turns about x and reverses the others; elbows' twist is never used.
            table[k, index(swapped)] = np.array(value) * (1, mirror, mirror)
    curve = PchipInterpolator(times, table.reshape(len(times), -1))

    def at(t: float) -> Moment:
        lap = (t / ROUTINE_SECONDS) % 2.0
        values = curve(min(lap, 2.0 - lap)).reshape(-1, 3)
        angles: Angles = {name: tuple(values[j]) for j, name in enumerate(NAMES) if j and np.any(values[j])}
        x, y, z = values[0]
        return _moment(angles, _about(x, y + heading, z), (0.03 * np.sin(2.1 * t), 0.0, 0.03 * np.cos(1.7 * t)))

    return at


def frame_times(count: int, seconds: float) -> Float[ndarray, "n"]:
    """Times of `count` frames: `FRAME_RATE` a second, or fewer a second when the clip would end before `seconds`."""
    return np.arange(count) * max(1.0 / FRAME_RATE, seconds / max(count, 1))
