"""EasyMocap's `keypoints3d/`, a JSON a frame: the joints of OpenPose's BODY_25, triangulated from its detections."""

import numpy as np
from jaxtyping import Float64

from na_ray.capture.layout import by_number
from na_ray.capture.rig import parse_json
from na_ray.capture.storage import join, listing, read_text
from na_ray.config.values import UserError
from na_ray.formats.calibrated import printable

SMPL_NAMES = {
    "right_shoulder": 2,
    "right_elbow": 3,
    "right_wrist": 4,
    "left_shoulder": 5,
    "left_elbow": 6,
    "left_wrist": 7,
    "right_hip": 9,
    "right_knee": 10,
    "right_ankle": 11,
    "left_hip": 12,
    "left_knee": 13,
    "left_ankle": 14,
}
"""SMPL's joints that BODY_25 has too, and their numbers there. Neck and mid hip lie elsewhere on the body."""

Detected = Float64[np.ndarray, "k 4"]
"""x y z and the confidence, in the calibration's unit."""


def read_keypoints(folder: str) -> dict[int, dict[str, Detected]]:
    """Frame number to person, by id as text, to where the joints of `SMPL_NAMES` are, in that order. Raises
    UserError, one line. Not a number where a frame's list is empty."""
    files = by_number(folder, listing(folder), (".json",))
    return {number: _people(join(folder, name)) for number, name in files.items()}


def _people(path: str) -> dict[str, Detected]:
    text = read_text(path)
    values = parse_json('{"people": ' + text + "}" if text.lstrip().startswith("[") else text, path)
    people = values.get("people", values.get("annots"))
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise UserError(f"{path}: no list of people; expected EasyMocap's [{{id, keypoints3d}}]: export it again")
    return {printable(person.get("id", 0)): _points(person.get("keypoints3d"), path) for person in people}


def _points(values: object, path: str) -> Detected:
    least = 1 + max(SMPL_NAMES.values())
    expected = f"expected {least} rows or more of x, y, z, confidence: export it again, or move the folder away"
    try:
        points = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{path}: keypoints3d is no list of numbers; {expected}") from None
    if points.size == 0:  # nobody was seen by two cameras
        return np.full((len(SMPL_NAMES), 4), np.nan)
    if points.ndim != 2 or points.shape[0] < least or points.shape[1] not in (3, 4):
        raise UserError(f"{path}: keypoints3d is {points.shape}; {expected}")
    points = points[list(SMPL_NAMES.values())]
    if points.shape[1] == 3:
        points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    return points
