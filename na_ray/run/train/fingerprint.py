"""Whether a run goes on with the capture that it began with: another person's would be trained into the same actor.

`fingerprint.json`, in the run's folder and in its checkpoints, holds a digest of each part of the capture. It is the
same wherever the capture lies, on a disk or behind a URL.
"""

from pathlib import Path
from typing import Any

import numpy as np

from na_ray.capture.dataset import Capture
from na_ray.capture.rig import Rig
from na_ray.checkpoint import FINGERPRINT, load_rig, write_json
from na_ray.config.files import read_json
from na_ray.config.values import UserError
from na_ray.pictures.png import digest

PARTS = {
    "body": "its mesh, UV atlas, skinning weights or rest pose",
    "cameras": "their calibration, number or picture size",
    "frames": "their number, or the poses of the first and the last",
}
"""What each digest covers, in words."""


def fingerprint(capture: Capture, split: str) -> dict[str, str]:
    """Digests of a capture's body, and of the cameras and frames of one of its splits. Reads headers and two poses."""
    source = capture.split(split)
    cameras = [(c.K, c.T_world_camera, np.array([c.height, c.width])) for c in source.cameras]
    poses = [source.pose(frame) for frame in (0, source.num_frames - 1)]
    return {
        "body": body_digest(capture.rig),
        "cameras": digest(*(_rounded(part) for camera in cameras for part in camera)),
        "frames": digest(str(source.num_frames), *(_rounded(a) for p in poses for a in (p.joints_RT, p.translation))),
    }


def body_digest(rig: Rig) -> str:
    """A digest of a body's arrays."""
    return digest(*(_rounded(array) for array in vars(rig).values() if array is not None))


def _rounded(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32)


def check_capture(root: Path, now: dict[str, str]) -> None:
    """Refuse to go on with a run in `root` whose capture was another one. Raises UserError, one line.

    Runs of 0.1 have no fingerprint: their checkpoints hold the body.
    """
    before = _known(root)
    changed = [f"{part} ({PARTS[part]})" for part in before if before[part] != now[part]]
    if changed:
        raise UserError(
            f"{root} was trained on another capture, which differs in {' and in '.join(changed)}: give the one it was "
            "started with by --capture, or choose another --name"
        )


def _known(root: Path) -> dict[str, Any]:
    """What is known of the capture that a run began with."""
    if (root / FINGERPRINT).exists():
        return read_json(root / FINGERPRINT, *PARTS)
    for body in sorted(root.glob("*/checkpoints/step_*/body.npz")):
        return {"body": body_digest(load_rig(body.parent))}
    return {}


def keep_fingerprint(root: Path, now: dict[str, str]) -> None:
    """Write the fingerprint into a run's folder."""
    write_json(root / FINGERPRINT, now)
