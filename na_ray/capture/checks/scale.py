"""Do cameras, pictures, body, joints and motion agree in their units and axes?

What is measured: how much of the posed body each camera sees, and how large; how large the posed body is beside its
mesh; where the joints lie in it. Where something does not fit, the changes that people need most often (another unit,
the axes of OpenGL, the inverse matrix) are tried, and the one that makes it fit is named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64

from na_ray.capture.camera import Camera
from na_ray.capture.checks.numbers import LARGEST_BODY
from na_ray.capture.pixels import posed_vertices
from na_ray.capture.rig import Pose, Rig

Points = Float[np.ndarray, "_ 3"]

LOOKS = 8
"""Frames that are measured."""
FEWEST_POINTS = 512
"""Of the posed vertices, about so many are projected."""
SMALLEST, SMALL = 0.01, 0.08
"""Of a picture's diagonal: a body below the first is no subject, below the second hardly one."""
LARGEST = 3.0
SMALL_BODY = 0.3
"""Metres: a hand has less, and a person in another unit."""
SEEN = 0.5
"""Share of the body that most cameras of a sound capture see at least."""
UNITS = {1000.0: "millimetres", 100.0: "centimetres", 10.0: "decimetres", 0.1: "", 0.01: "", 0.001: "kilometres"}
UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Takes y up to z up."""


def bodies_of(rig: Rig, poses: Sequence[Pose]) -> list[Points]:
    """Some posed vertices (m) of some of the poses; those of another skeleton are left out."""
    fitting = [pose for pose in poses if len(pose.joints_RT) == rig.num_joints]
    stride = max(1, len(rig.vertices) // FEWEST_POINTS)
    chosen = fitting[:: max(1, len(fitting) // LOOKS)]
    return [posed_vertices(rig, pose)[::stride].astype(np.float64) for pose in chosen]


def measurable(rig: Rig, poses: Sequence[Pose]) -> bool:
    """Whether body and poses are sound enough for all that follows; what is not has its own line."""
    sound = 0 < np.ptp(rig.vertices, axis=0).max() <= LARGEST_BODY
    return bool(sound and np.isfinite(rig.weights).all() and any(len(p.joints_RT) == rig.num_joints for p in poses))


@dataclass(frozen=True)
class Sight:
    """How a camera sees the bodies: medians over them."""

    share: float
    """Of the points, those in the picture; 0 only where none ever is."""
    extent: float
    """Diagonal of the box round the points in front, over the picture's."""

    @classmethod
    def of(cls, camera: Camera, bodies: Sequence[Points]) -> "Sight":
        """By one camera."""
        shares, extents = [], []
        for points in bodies:
            pixels, depth = camera.project(points)
            front = depth > 0
            size = [camera.width - 0.5, camera.height - 0.5]
            shares.append(float((front & (pixels > -0.5).all(axis=1) & (pixels < size).all(axis=1)).mean()))
            span = np.ptp(pixels[front], axis=0) if front.any() else np.zeros(2)
            extents.append(float(np.hypot(*span) / np.hypot(camera.width, camera.height)))
        return cls(max(float(np.median(shares)), 1e-9 if max(shares) else 0.0), float(np.median(extents)))


def fits(sights: Sequence[Sight]) -> bool:
    """Whether most cameras see most of the body, neither tiny nor from within it."""
    share, extent = np.median([[sight.share, sight.extent] for sight in sights], axis=0)
    return bool(share >= SEEN and SMALL <= extent <= LARGEST)


Matrix = Float64[np.ndarray, "4 4"]
"""A camera's `T_world_camera`."""


def _nearer(pose: Matrix, factor: float) -> Matrix:
    return np.block([[pose[:3, :3], pose[:3, 3:] / factor], [pose[3:]]])


def _of_opengl(pose: Matrix) -> Matrix:
    return pose @ np.diag([1.0, -1, -1, 1])


def _changes(pose: Matrix, todo: str) -> Iterator[tuple[str, Matrix]]:
    """(what a matrix seems to be and what to do, how it is meant), the most frequent first.

    `todo`: what to do with one that is the inverse of what it should be.
    """
    opengl = "their axes seem to be OpenGL's (y up, z backward: nerfstudio, Blender): multiply columns 2 and 3 by -1"
    inverse = np.linalg.inv(pose)
    yield opengl, _of_opengl(pose)
    yield f"they seem to be the inverse: {todo}", inverse
    for factor, unit in UNITS.items():
        yield f"their positions seem to be {_times(factor, unit)}", _nearer(pose, factor)
    for factor, unit in UNITS.items():
        times = _times(factor, unit)
        yield f"{opengl}; and their positions are {times}", _nearer(_of_opengl(pose), factor)
        yield f"they seem to be the inverse, and their positions {times}; {todo}", _nearer(inverse, factor)
    for rotation in (UP, UP.T):
        turned = "their world seems to have another axis up than the body's (y or z): turn them by 90 degrees about x"
        yield turned, np.vstack([rotation @ pose[:3], pose[3:]])


def _times(factor: float, unit: str) -> str:
    """`1000 times too large (millimetres): divide them by 1000`."""
    named = f" ({unit})" if unit else ""
    if factor > 1:
        return f"{factor:g} times too large{named}: divide them by {factor:g}"
    return f"{1 / factor:g} times too small{named}: multiply them by {1 / factor:g}"


INVERT = "write the inverse of each"


def cause(cameras: Sequence[Camera], bodies: Sequence[Points], todo: str = INVERT) -> str | None:
    """The change of the cameras that lets most of them see the body, as advice; None where none does."""
    for changed in zip(*(_changes(camera.T_world_camera, todo) for camera in cameras), strict=True):
        meant = [replace(camera, T_world_camera=pose) for camera, (_, pose) in zip(cameras, changed, strict=True)]
        if fits([Sight.of(camera, bodies) for camera in meant]):
            return changed[0][0]
    return None


def camera_faults(
    cameras: Sequence[Camera], bodies: Sequence[Points], todo: str = INVERT
) -> tuple[list[str], list[str]]:
    """(defects, notes) of sound cameras that look at the bodies: half lines. `todo`: see `_changes`."""
    if not cameras or not bodies:
        return [], []
    sights = [Sight.of(camera, bodies) for camera in cameras]
    blind = [camera for camera, sight in zip(cameras, sights, strict=True) if sight.share == 0]
    first = cameras[0]
    share, extent = (float(n) for n in np.median([[s.share, s.extent] for s in sights], axis=0))
    spans = f"the body spans {extent * np.hypot(first.height, first.width):.2g} px of the {first.height}x{first.width}"
    if blind:
        found = f"the body is never in the picture of camera {_named(blind)}"
        advice = cause(blind, bodies, todo) or f"where they are the inverse, {todo}"
    elif extent < SMALLEST:
        found = f"{spans} pictures"
        advice = cause(cameras, bodies, todo) or "scale the cameras' positions, or the body and its poses"
    elif share < SEEN and (known := cause(cameras, bodies, todo)):
        found, advice = f"most cameras see {share:.0%} of the body at most", known
    else:
        meant = cause(cameras, bodies, todo) if extent < SMALL else None
        return [], [f"{spans} pictures: where that is not so, {meant}"] if meant else []
    return [f"{found}; expected camera-to-world matrices in metres, x right, y down, z forward: {advice}"], []


def _named(cameras: Sequence[Camera]) -> str:
    names = [camera.name for camera in cameras]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def body_notes(rig: Rig) -> Iterator[str]:
    """A body that is too small for metres: half lines."""
    extent = float(np.ptp(rig.vertices, axis=0).max())
    if 0 < extent < SMALL_BODY:
        yield f"the body measures {extent:.3g} m: where it is a person, scale mesh, poses and cameras to metres"


def intrinsics_notes(cameras: Sequence[Camera]) -> Iterator[str]:
    """Intrinsics that seem to be those of smaller pictures: half lines."""
    if len(cameras) < 2:
        return
    centers = np.array([[c.K[0, 2] / c.width, c.K[1, 2] / c.height] for c in cameras])
    x, y = np.median(centers, axis=0)
    if 0 < x < 0.35 and abs(x - y) < 0.1 * x:
        found = f"the principal points lie at {x:.2f} and {y:.2f} of the pictures' width and height in most cameras"
        todo = f"where they were calibrated at {2 * x:.2g} times the size, scale the first two rows of the matrices"
        yield f"{found}: {todo}"


def pose_faults(rig: Rig, poses: Sequence[Pose]) -> tuple[list[str], list[str]]:
    """(defects, notes) of a `measurable` body's poses among themselves: half lines."""
    fitting = [pose for pose in poses if len(pose.joints_RT) == rig.num_joints]
    chosen = fitting[:: max(1, len(fitting) // LOOKS)]
    bodies = bodies_of(rig, fitting)
    rest, posed = _size(rig.vertices), float(np.median([_size(body) for body in bodies]))
    if not 0.4 < posed / rest < 2.5:
        found = f"the posed body measures {posed:.3g} m, canonical.obj {rest:.3g} m"
        return [f"{found}; expected the same unit: scale the translations of joints_RT, or the mesh"], []
    joints = [pose.joints.astype(np.float64) for pose in chosen]
    away = _away(bodies, joints)
    span = float(np.median([_size(j) for j in joints])) / posed
    # Few joints need not span anything.
    if away > 1 or not (0.02 if rig.num_joints >= 5 else -1) < span < 2.5:
        found = f"the joints span {span * posed:.3g} m, the posed body {posed:.3g} m, {away * posed:.3g} m from them"
        return [f"{found}; expected the joints within the body, in metres: {_joints_cause(chosen, bodies, joints)}"], []
    return [], [*_motion_notes(fitting, posed), *_rest_notes(chosen, posed)]


def _size(points: Points) -> float:
    return float(np.linalg.norm(np.ptp(points, axis=0)))


def _away(bodies: Sequence[Points], joints: Sequence[Points]) -> float:
    """Distance of the joints' middle from the body's, in sizes of the body; the worst frame's."""
    return max(
        float(np.linalg.norm(j.mean(axis=0) - b.mean(axis=0))) / _size(b) for b, j in zip(bodies, joints, strict=True)
    )


def _joints_cause(poses: Sequence[Pose], bodies: Sequence[Points], joints: Sequence[Points]) -> str:
    """Which of `translation` and `joints` is to be scaled."""
    for factor, unit in UNITS.items():
        moved = [b - p.translation * (1 - 1 / factor) for b, p in zip(bodies, poses, strict=True)]
        scaled = [j / factor for j in joints]
        for what, b, j in (("translation", moved, joints), ("joints", bodies, scaled), ("both", moved, scaled)):
            sized = 0.2 < np.median([_size(part) for part in j]) / np.median([_size(body) for body in b]) < 2.5
            if sized and _away(b, j) < 0.5:
                keys = {"both": "translation and joints"}.get(what, what)
                return f"the values of {keys} seem to be {_times(factor, unit)}"
    return "export translation and joints from one program, in one unit"


def _motion_notes(poses: Sequence[Pose], size: float) -> Iterator[str]:
    places = np.array([pose.translation for pose in poses], np.float64)
    step = float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1))) if len(places) > 2 else 0.0
    if step > 0.5 * size:
        found = f"the body moves {step:.3g} m from frame to frame"
        yield f"{found}: where it does not, its translation is in another unit"


def _rest_notes(poses: Sequence[Pose], size: float) -> Iterator[str]:
    """The joints, brought back to rest, are the same in every frame: else they are another frame's or skeleton's."""
    rest = np.stack([rest_joints(pose) for pose in poses])
    spread = float(np.linalg.norm(rest - np.median(rest, axis=0), axis=2).mean())
    if spread > 0.015 * size:
        found = f"the joints move by {100 * spread:.1f} cm within the body on average"
        yield f"{found}: where they are not those of another frame or skeleton, this does no harm"


def rest_joints(pose: Pose) -> Float64[np.ndarray, "j 3"]:
    """Where the joints of a pose lie in the rest pose: r_j = A_j^-1 [(joints_j - translation) rotation^-1]."""
    local = (pose.joints.astype(np.float64) - pose.translation) @ np.linalg.pinv(pose.rotation.astype(np.float64))
    A = pose.joints_RT.astype(np.float64)
    return np.einsum("jab,jb->ja", np.linalg.pinv(A[:, :3, :3]), local - A[:, :3, 3])
