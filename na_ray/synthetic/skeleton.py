"""The SMPL tree of 24 joints, its rest position, and forward kinematics.

Axes: y up, the figure faces +z, its left side is +x; metres. The rest pose is an A pose with the pelvis at the origin.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

# name, parent, rest position of the joint
JOINTS: tuple[tuple[str, int, tuple[float, float, float]], ...] = (
    ("pelvis", -1, (0.0, 0.0, 0.0)),
    ("left_hip", 0, (0.082, -0.07, 0.0)),
    ("right_hip", 0, (-0.082, -0.07, 0.0)),
    ("spine1", 0, (0.0, 0.10, -0.012)),
    ("left_knee", 1, (0.088, -0.485, 0.008)),
    ("right_knee", 2, (-0.088, -0.485, 0.008)),
    ("spine2", 3, (0.0, 0.22, -0.014)),
    ("left_ankle", 4, (0.092, -0.885, -0.022)),
    ("right_ankle", 5, (-0.092, -0.885, -0.022)),
    ("spine3", 6, (0.0, 0.31, -0.012)),
    ("left_foot", 7, (0.104, -0.945, 0.095)),
    ("right_foot", 8, (-0.104, -0.945, 0.095)),
    ("neck", 9, (0.0, 0.49, -0.026)),
    ("left_collar", 9, (0.050, 0.425, -0.020)),
    ("right_collar", 9, (-0.050, 0.425, -0.020)),
    ("head", 12, (0.0, 0.585, -0.008)),
    ("left_shoulder", 13, (0.158, 0.432, -0.022)),
    ("right_shoulder", 14, (-0.158, 0.432, -0.022)),
    ("left_elbow", 16, (0.333, 0.228, -0.032)),
    ("right_elbow", 17, (-0.333, 0.228, -0.032)),
    ("left_wrist", 18, (0.492, 0.044, 0.004)),
    ("right_wrist", 19, (-0.492, 0.044, 0.004)),
    ("left_hand", 20, (0.540, -0.014, 0.018)),
    ("right_hand", 21, (-0.540, -0.014, 0.018)),
)

NAMES: tuple[str, ...] = tuple(name for name, _, _ in JOINTS)
PARENTS: tuple[int, ...] = tuple(parent for _, parent, _ in JOINTS)
REST: Float[ndarray, "24 3"] = np.array([position for _, _, position in JOINTS])

# Degrees about z that lift the left arm of the rest pose to the horizontal, and about which the legs spread.
TPOSE_ARM_DEGREES = 49.0
TPOSE_LEG_DEGREES = 12.0


def index(name: str) -> int:
    """Number of the joint called `name`."""
    return NAMES.index(name)


def hinge_axis(side: str) -> Float[ndarray, "3"]:
    """Unit axis, in rest axes, about which a positive angle brings the forearm of `side` forward."""
    forearm = REST[index(f"{side}_wrist")] - REST[index(f"{side}_elbow")]
    axis = np.cross(forearm, (0.0, 0.0, 1.0))
    return axis / np.linalg.norm(axis)


def forward_kinematics(
    rotvecs: Float[ndarray, "24 3"], rest: Float[ndarray, "24 3"] = REST
) -> Float[ndarray, "24 4 4"]:
    """Transforms A_j from rest to posed space: G_j = G_parent T(rest_j - rest_parent) R_j, A_j = G_j T(-rest_j).

    `rotvecs` are axis-angles relative to the parent, in axes parallel to the rest axes (SMPL's convention).
    """
    local = np.tile(np.eye(4), (len(rest), 1, 1))
    local[:, :3, :3] = Rotation.from_rotvec(rotvecs).as_matrix()
    local[0, :3, 3] = rest[0]
    local[1:, :3, 3] = rest[1:] - rest[list(PARENTS[1:])]
    posed = np.empty_like(local)
    for joint, parent in enumerate(PARENTS):
        posed[joint] = local[joint] if parent < 0 else posed[parent] @ local[joint]
    posed[:, :3, 3] -= np.einsum("jab,jb->ja", posed[:, :3, :3], rest)
    return posed


def tpose_rotvecs() -> Float[ndarray, "24 3"]:
    """Axis-angles that bring the rest pose to a T pose with the legs a little apart."""
    rotvecs = np.zeros((len(REST), 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotvecs[index(f"{side}_shoulder"), 2] = sign * np.radians(TPOSE_ARM_DEGREES)
        rotvecs[index(f"{side}_hip"), 2] = sign * np.radians(TPOSE_LEG_DEGREES)
    return rotvecs


def skin(
    vertices: Float[ndarray, "v 3"], weights: Float[ndarray, "v 24"], transforms: Float[ndarray, "24 4 4"]
) -> Float[ndarray, "v 3"]:
    """Linear blend skinning: v' = sum_j w_j A_j v."""
    blended = (weights @ transforms[:, :3].reshape(len(transforms), 12)).reshape(-1, 3, 4)
    return np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]
