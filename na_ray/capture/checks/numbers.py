"""What can be wrong with the numbers of a rig, a camera or a pose: half lines, to which the caller adds the file."""

from collections.abc import Iterator

import numpy as np

from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig

# Text files hold six decimals: twenty-four of them may be off by this much together, and then some.
SUM_TOLERANCE = 1e-3
RIGID_TOLERANCE = 1e-2
# A body larger than this (m) is measured in centimetres or millimetres.
LARGEST_BODY = 10.0


def weights_faults(weights: np.ndarray) -> Iterator[str]:
    """Skinning weights (V, J) that are not finite, negative, or do not sum to one."""
    bad = np.flatnonzero(~np.isfinite(weights).all(axis=1))
    if len(bad):
        yield f"line {bad[0] + 1}: a weight that is not finite{_more(bad)}; expected numbers from 0 to 1: export again"
        return
    bad = np.flatnonzero((weights < -SUM_TOLERANCE).any(axis=1))
    if len(bad):
        found = f"line {bad[0] + 1}: a weight of {weights[bad[0]].min():.4g}{_more(bad)}"
        yield f"{found}; expected none below 0: export again"
    sums = weights.sum(axis=1)
    bad = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(bad):
        yield f"line {bad[0] + 1}: weights sum to {sums[bad[0]]:.4g}{_more(bad)}; expected 1: normalize each line"


def _more(bad: np.ndarray) -> str:
    return f" (so in {len(bad)} lines)" if len(bad) > 1 else ""


def vertices_faults(vertices: np.ndarray) -> Iterator[str]:
    """Vertices (V, 3) that are not finite, or not in metres."""
    bad = np.flatnonzero(~np.isfinite(vertices).all(axis=1))
    if len(bad):
        yield f"vertex {bad[0] + 1} is not finite; expected three numbers: export the mesh again"
        return
    extent = float(np.ptp(vertices, axis=0).max())
    if extent > LARGEST_BODY:
        yield f"the body measures {extent:.4g} m; expected metres, below {LARGEST_BODY:g}: scale the mesh and all poses"


def uv_faults(rig: Rig) -> Iterator[str]:
    """Texture coordinates that are not finite or off the map."""
    off = ~np.isfinite(rig.uv).all(axis=1) | (rig.uv < -1e-3).any(axis=1) | (rig.uv > 1 + 1e-3).any(axis=1)
    bad = np.flatnonzero(off)
    if len(bad):
        yield f"vt {bad[0] + 1} is {rig.uv[bad[0]].tolist()}; expected u and v from 0 to 1: export the UV map again"


def rigid_fault(rotation: np.ndarray) -> str | None:
    """Why a 3x3 matrix is no rotation, None when it is one."""
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > RIGID_TOLERANCE:
        return f"is no rotation (R R^T differs from the identity by {error:.3g}); expected orthonormal rows"
    if np.linalg.det(rotation) < 0:
        return "mirrors (its determinant is -1); expected a rotation"
    return None


def intrinsics_faults(camera: Camera) -> Iterator[str]:
    """Intrinsics that are none, or those of another resolution."""
    K, size = camera.K, f"{camera.height}x{camera.width}"
    if min(K[0, 0], K[1, 1]) <= 0:
        found = f"focal lengths {K[0, 0]:g} and {K[1, 1]:g}"
        yield f"{found}; expected positive numbers of pixels: copy the calibration again"
        return
    if not (-0.5 <= K[0, 2] <= camera.width - 0.5 and -0.5 <= K[1, 2] <= camera.height - 0.5):
        found = f"principal point ({K[0, 2]:.1f}, {K[1, 2]:.1f}) lies outside the {size} picture"
        yield f"{found}; expected the calibration of this resolution: scale the matrix"
    if np.abs(K[2] - [0, 0, 1]).max() > 1e-6 or abs(K[1, 0]) > 1e-6:
        yield f"third row {K[2].tolist()}; expected [fx s cx; 0 fy cy; 0 0 1]: copy the calibration again"


def extrinsics_faults(camera: Camera) -> Iterator[str]:
    """Extrinsics that are no rigid motion."""
    fault = rigid_fault(camera.T_world_camera[:3, :3])
    if fault:
        yield f"the matrix {fault}: calibrate again, or remove its scale"


def pose_faults(pose: Pose, num_joints: int | None) -> Iterator[str]:
    """Transforms that do not fit the rig, or are no rigid motions."""
    if num_joints is not None and len(pose.joints) != num_joints:
        found = f"joints holds {len(pose.joints)} joints, the skinning weights {num_joints}"
        yield f"{found}; expected the same number: export with this body's skeleton"
    fault = rigid_fault(pose.rotation)
    if fault:
        yield f"rotation {fault}: export it again"
    rotations = pose.joints_RT[:, :3, :3].astype(np.float64)
    errors = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    errors = np.maximum(errors, np.abs(pose.joints_RT[:, 3] - [0, 0, 0, 1]).max(axis=1))
    if errors.max() > RIGID_TOLERANCE:
        joint = int(errors.argmax())
        found = f"joints_RT of joint {joint} is no rigid motion (off by {errors[joint]:.3g})"
        yield f"{found}; expected 4x4xJ, the joint last: export it again"
