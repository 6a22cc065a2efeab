"""What people get wrong between two programs, as changes of an arrangement that undo it.

Each hypothesis says what the files seem to hold, and what to do about it, and can be tried.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from na_ray.capture.camera import Camera
from na_ray.prepare.evidence import Arrangement, BodyPlacement

Aspect = Literal["units", "axes", "intrinsics", "mask", "tracking"]

ASPECTS: tuple[Aspect, ...] = ("units", "axes", "intrinsics", "mask", "tracking")

PERSON = (0.3, 3.0)
"""Metres from one end of a mesh to the other that may be a person's."""
UNITS = {"millimetres": 0.001, "centimetres": 0.01, "decimetres": 0.1, "inches": 0.0254, "feet": 0.3048}
"""Metres of one of each."""
SIZES = {2.0: "half the pictures' size", 0.5: "twice the pictures' size", 4.0: "a quarter of the pictures' size"}
SIZES |= {0.25: "four times the pictures' size", 1.5: "two thirds of the pictures' size", 2 / 3: "1.5 times the size"}


@dataclass(frozen=True)
class Hypothesis:
    """One thing that may have gone wrong."""

    aspect: Aspect
    found: str
    """What the files seem to hold."""
    todo: str
    """What mends it."""
    change: Callable[[Arrangement], Arrangement]
    """The arrangement as it was meant."""


def hypotheses(height: float) -> Iterator[Hypothesis]:
    """All that are tried. `height`: of the mesh, m: where it is a person's, the cameras are scaled and not the body."""
    yield from _unit_hypotheses(height)
    yield from _rotation_hypotheses()
    yield from _root_hypotheses()
    yield from _size_hypotheses()
    yield from _turned_pictures()


def _unit_hypotheses(height: float) -> Iterator[Hypothesis]:
    for unit, factor in UNITS.items():
        if PERSON[0] <= height <= PERSON[1]:
            yield Hypothesis(
                "units",
                f"the cameras' positions seem to be in {unit}",
                f"multiply them by {factor:g} (na-ray convert --unit {factor:g})",
                _cameras_scaled(factor),
            )
            yield Hypothesis(
                "units",
                f"the body's translations seem to be in {unit}",
                f"multiply the translations (Th) by {factor:g}",
                _translations_scaled(factor),
            )
        else:
            yield Hypothesis(
                "units",
                f"the body seems to be in {unit}",
                f"multiply mesh, translations and joints by {factor:g}",
                _bodies_scaled(factor, factor),
            )
            yield Hypothesis(
                "units",
                f"the mesh seems to be in {unit}, its translations in metres",
                f"multiply the mesh by {factor:g}",
                _bodies_scaled(factor, 1.0),
            )


def _cameras_scaled(factor: float) -> Callable[[Arrangement], Arrangement]:
    def scaled(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
        return np.block([[pose[:3, :3], pose[:3, 3:] * factor], [pose[3:]]])

    return _of_poses(scaled)


def _translations_scaled(factor: float) -> Callable[[Arrangement], Arrangement]:
    return _of_bodies(lambda body: replace(body, translation=body.translation * factor))


def _bodies_scaled(mesh: float, translation: float) -> Callable[[Arrangement], Arrangement]:
    return _of_bodies(lambda body: replace(body, scale=body.scale * mesh, translation=body.translation * translation))


def _of_poses(
    change: Callable[[Float64[np.ndarray, "4 4"]], Float64[np.ndarray, "4 4"]],
) -> Callable[[Arrangement], Arrangement]:
    """A change of each camera's `T_world_camera`."""
    return lambda said: said.with_cameras([replace(c, T_world_camera=change(c.T_world_camera)) for c in said.cameras])


def _of_bodies(change: Callable[[BodyPlacement], BodyPlacement]) -> Callable[[Arrangement], Arrangement]:
    return lambda said: replace(said, bodies=tuple(change(body) for body in said.bodies))


def transposed_rotation(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """`T_world_camera` of a camera whose x_camera = R x + T was written with R^T in place of R."""
    R, T = pose[:3, :3].T, -pose[:3, :3].T @ pose[:3, 3]
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = R, -R @ T
    return found


def _turned_in_place(pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    return np.block([[pose[:3, :3].T, pose[:3, 3:]], [pose[3:]]])


def _rotation_hypotheses() -> Iterator[Hypothesis]:
    matrices = (
        ("the cameras' rotations seem to be transposed (x_cam = R^T x + T)", "transpose R_/Rot_", transposed_rotation),
        ("the cameras' rotations seem to be transposed about their centres", "transpose them", _turned_in_place),
        (
            "the cameras' matrices seem to be the inverse (world to camera)",
            "write the inverse of each, or name the folder extrinsic/",
            np.linalg.inv,
        ),
        (
            "the cameras' axes seem to be OpenGL's (y up, z backward)",
            "multiply columns 2 and 3 of their matrices by -1",
            lambda pose: pose @ np.diag([1.0, -1, -1, 1]),
        ),
    )
    for found, todo, change in matrices:
        yield Hypothesis("axes", found, todo, _of_poses(change))
    yield Hypothesis(
        "axes",
        "the body's rotations seem to be transposed",
        "transpose `rotation` in transform/*.json: world = v @ rotation + translation (negate Rh)",
        _of_bodies(lambda body: replace(body, rotation=body.rotation.T)),
    )
    for sign, axes in ((1.0, "z up, the body y up"), (-1.0, "y up, the body z up")):
        up = np.array([[1.0, 0, 0], [0, 0, -sign], [0, sign, 0]])
        yield Hypothesis(
            "axes",
            f"the cameras' world seems to be {axes}",
            "turn the cameras by 90 degrees about x",
            _of_poses(lambda pose, up=up: np.vstack([up.T @ pose[:3], pose[3:]])),  # type: ignore[misc]
        )


def _about_root(body: BodyPlacement, sign: float) -> BodyPlacement:
    """Turned about the root joint J where it was turned about the origin: t + J - J @ R; the other way round for -1."""
    return replace(body, translation=body.translation + sign * (body.root - body.root @ body.rotation))


def _root_hypotheses() -> Iterator[Hypothesis]:
    yield Hypothesis(
        "tracking",
        "the track seems to hold global_orient in place of Rh: it turns about the root joint, Rh about the origin",
        "write it into poses[:3], with Rh zero, or Th + J - R J with J the root joint at rest",
        _of_bodies(lambda body: _about_root(body, 1.0)),
    )
    yield Hypothesis(
        "tracking",
        "the track seems to hold Rh in place of global_orient: it turns about the origin, not the root joint",
        "write it as Rh, with poses[:3] zero, or Th - (J - R J) with J the root joint at rest",
        _of_bodies(lambda body: _about_root(body, -1.0)),
    )


def rescaled(camera: Camera, factor: float) -> Camera:
    """Intrinsics as for pictures `factor` times as large. The picture's corner lies at -.5."""
    K = camera.K.copy()
    K[:2, 2] += 0.5
    K[:2] *= factor
    K[:2, 2] -= 0.5
    return replace(camera, K=K)


def _size_hypotheses() -> Iterator[Hypothesis]:
    for factor, size in SIZES.items():
        yield Hypothesis(
            "intrinsics",
            f"the intrinsics seem to be those of pictures of {size}",
            f"multiply the first two rows of K by {factor:.3g}, or convert the pictures that were calibrated",
            lambda said, factor=factor: said.with_cameras(  # type: ignore[misc]
                [rescaled(camera, factor) for camera in said.cameras]
            ),
        )


def quarter_turn(camera: Camera, clockwise: bool) -> Camera:
    """The camera of this picture, where `camera` was calibrated before it was turned by a quarter.

    Of a picture turned clockwise, pixel (x, y) of the old one lies at (W - 1 - y, x): its x axis is the old -y.
    """
    x, y = camera.T_world_camera[:3, 0], camera.T_world_camera[:3, 1]
    sign = -1.0 if clockwise else 1.0
    K = np.eye(3)
    K[0, 0], K[1, 1] = camera.K[1, 1], camera.K[0, 0]
    cx, cy = camera.K[0, 2], camera.K[1, 2]
    K[:2, 2] = (camera.width - 1 - cy, cx) if clockwise else (cy, camera.height - 1 - cx)
    pose = camera.T_world_camera.copy()
    pose[:3, 0], pose[:3, 1] = sign * y, -sign * x
    return replace(camera, K=K, T_world_camera=pose)


def _turned_pictures() -> Iterator[Hypothesis]:
    for clockwise in (True, False):
        way = "clockwise" if clockwise else "counterclockwise"
        yield Hypothesis(
            "axes",
            f"the pictures seem to be turned {way} by 90 degrees since they were calibrated",
            "calibrate upright pictures, or turn these back",
            lambda said, clockwise=clockwise: said.with_cameras(  # type: ignore[misc]
                [quarter_turn(camera, clockwise) for camera in said.cameras]
            ),
        )


def exchanged(said: Arrangement, order: Sequence[int]) -> Hypothesis:
    """Each picture with the calibration of another: picture i with that of camera order[i]."""

    def change(given: Arrangement) -> Arrangement:
        sizes = [(camera.height, camera.width) for camera in given.cameras]
        return given.with_cameras(
            [replace(given.cameras[k], height=h, width=w) for k, (h, w) in zip(order, sizes, strict=True)]
        )

    moved = [f"{said.cameras[i].name} with {said.cameras[k].name}'s" for i, k in enumerate(order) if i != k]
    pairs = ", ".join(moved[:4]) + ", ..." * (len(moved) > 4)
    found = f"the calibration seems to be in another order than the pictures: pictures of {pairs} matrices fit"
    return Hypothesis("axes", found, "name both alike (2 comes before 10)", change)
