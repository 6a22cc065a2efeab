"""The correction of one frame's pose from silhouettes and colors: Gauss-Newton's steps through the skinned body.

A step minimizes sum (J d - s)^T K (J d - s) over the pulls (s, K) of all cameras, and the distance of the whole
correction from `prior`, its parts weighed by how far tracks are off as a rule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from na_ray.body.body import Body, PosedBody
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import Skeleton
from na_ray.prepare.alignment import CameraPulls, Outline, color_pulls, outline, outline_pulls
from na_ray.prepare.kinematics import Correction, corrected, points_of
from na_ray.prepare.photographs import FilmedFrame

MOVE, TURN, JOINT = 0.05, 0.1, 0.05
"""How far the body (m, rad) and a joint (rad) are off as a rule."""
OUTLINE_NOISE, COLOR_NOISE = 4.0, 4.0
"""Pixels that a pull is wrong by; its neighbors share most of that, hence more than a single one is."""
REACHES = (16.0, 10.0, 6.0, 4.0)
"""Of the outline's pulls, step by step, of the body as a whole; the last one's stays."""
JOINT_STEPS = 5

DrawBody = Callable[[PosedBody, Camera], Float64[np.ndarray, "_ _ 3"]]
"""Draws the posed body in its colors over time."""


@dataclass(frozen=True, eq=False)
class TrackScene:
    """What stays the same from frame to frame."""

    rig: Rig
    body: Body
    skeleton: Skeleton
    cameras: Sequence[Camera]


def outlines(
    scene: TrackScene, pose: Pose, masks: Sequence[Bool[np.ndarray, "_ _"]]
) -> tuple[PosedBody, list[Outline]]:
    """The posed body, and its outline beside the silhouette of each camera."""
    posed = scene.body.pose(pose)
    return posed, [outline(posed, camera, mask) for camera, mask in zip(scene.cameras, masks, strict=True)]


def mean_iou(scene: TrackScene, pose: Pose, masks: Sequence[Bool[np.ndarray, "_ _"]]) -> float:
    """Intersection over union of body and silhouettes, mean over the cameras."""
    return float(np.mean([found.iou for found in outlines(scene, pose, masks)[1]]))


def fit(
    scene: TrackScene,
    pose: Pose,
    frame: FilmedFrame,
    start: Correction,
    draw: DrawBody | None = None,
    prior: Float64[np.ndarray, "p"] | None = None,
) -> Correction:
    """The correction of a pose: by silhouettes alone, or with `draw` by colors too, from where `start` took it."""
    assert frame.masks is not None
    total = start.vector
    prior = np.zeros_like(total) if prior is None else prior
    rigid = np.arange(len(total)) < 6
    free = rigid | np.repeat([p >= 0 for p in (-1, -1, *scene.skeleton.parents)], 3)
    schedule = [] if draw is not None else [(reach, rigid) for reach in REACHES]
    schedule += [(REACHES[-1], free)] * (3 if draw is not None else JOINT_STEPS)
    for reach, wanted in schedule:
        now = corrected(pose, Correction.from_vector(total), scene.skeleton)
        posed, found = outlines(scene, now, frame.masks)
        pulls = [(outline_pulls(each, posed, reach), OUTLINE_NOISE) for each in found]
        if draw is not None:
            for each, image in zip(found, frame.images, strict=True):
                photograph = image[each.cut.rows, each.cut.columns, :3]
                pulls.append((color_pulls(each, posed, draw(posed, each.cut.camera), photograph), COLOR_NOISE))
        total = total + _step(scene, now, pulls, total - prior, wanted)
    return Correction.from_vector(total)


def _step(
    scene: TrackScene,
    pose: Pose,
    pulls: Sequence[tuple[CameraPulls, float]],
    off: Float64[np.ndarray, "p"],
    wanted: Bool[np.ndarray, "p"],
) -> Float64[np.ndarray, "p"]:
    """What the pulls ask for, of the wanted parameters; the others stay."""
    columns = np.flatnonzero(wanted)
    spread = np.concatenate([np.full(3, MOVE), np.full(3, TURN), np.full(len(off) - 6, JOINT)])[columns]
    matrix = np.diag(1 / spread**2)
    right = -off[columns] / spread**2
    for pull, noise in pulls:
        if len(pull.vertices) == 0:
            continue
        points = points_of(scene.rig, pose, scene.skeleton, pull.vertices)
        J = points.slopes(_picture_slope(pull.camera, points.world))[:, :, columns]
        weighted = (pull.known @ J / noise**2).reshape(-1, len(columns))
        matrix += weighted.T @ J.reshape(-1, len(columns))
        right += weighted.T @ pull.shift.ravel()
    result = np.zeros(len(off))
    result[columns] = np.linalg.solve(matrix, right)
    return result


def _picture_slope(camera: Camera, world: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2 3"]:
    """How a point's pixel changes as it moves in the world."""
    R = np.linalg.inv(camera.T_world_camera[:3, :3])
    local = (world - camera.center) @ R.T
    homogeneous, K = local @ camera.K.T, camera.K @ R
    depth = homogeneous[:, 2]
    pixel = homogeneous[:, :2] / depth[:, None]
    return (K[None, :2] - pixel[:, :, None] * K[None, 2:]) / depth[:, None, None]
