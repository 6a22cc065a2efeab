"""The body of a capture from a model file: its shaped template, joints, weights, and what shape it may take.

Symbols: V vertices, J joints, S shape coefficients, n frames. Lengths are metres.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial.transform import Rotation

from na_ray.capture.skeleton import Skeleton
from na_ray.config.values import UserError
from na_ray.formats.smpl_body import SmplBody

SOME_FRAMES = 24
"""Frames in which the bending that is left out is measured."""
LEG_SPREAD = 0.22
"""Radians between each leg of the T pose and the one at rest."""


@dataclass(frozen=True, eq=False)
class BodyTemplate:
    """A body at rest, as the capture's files hold it."""

    source: str
    """The file that it is from."""
    kind: str
    """`SMPL`, `SMPL-X`, `rig`, ..."""
    vertices: Float64[np.ndarray, "v 3"]
    faces: Int64[np.ndarray, "f 3"]
    weights: Float64[np.ndarray, "v j"]
    skeleton: Skeleton
    tpose: Float64[np.ndarray, "j 3"]
    """Turns of the joints, relative to their parents, from the rest to a T pose with the legs a little apart."""
    lines: tuple[str, ...] = ()
    """What the user should know."""
    smpl: SmplBody | None = None
    """The model, where it is one of SMPL's: its poses are as the files say."""
    betas: Float64[np.ndarray, "s"] | None = None
    """Shape coefficients of `vertices`."""
    uv: Float64[np.ndarray, "t 2"] | None = None
    """Texture coordinates that the file has itself."""
    uv_faces: Int64[np.ndarray, "f 3"] | None = None
    extra: dict[str, str] = field(default_factory=dict)
    """More about it for capture.json."""

    def shape_arrays(self) -> dict[str, np.ndarray]:
        """What changes the body's shape: `shapedirs` (V, 3, S) and `jointdirs` (J, 3, S), m a unit; `betas`."""
        if self.smpl is None or self.betas is None:
            return {}
        count = len(self.betas)
        directions = self.smpl.shapedirs[..., :count]
        joints = np.einsum("jv,vcs->jcs", self.smpl.J_regressor, directions)
        arrays = {"shapedirs": directions, "jointdirs": joints, "betas": self.betas}
        return {name: array.astype(np.float32) for name, array in arrays.items()}


def shaped_template(body: SmplBody, shapes: Float64[np.ndarray, "n s"]) -> BodyTemplate:
    """A model's body in the mean shape over the frames. The lines say by how much that shape varies."""
    betas = shapes.mean(axis=0)
    count = min(len(betas), body.shapedirs.shape[2])
    lines = []
    if np.any(betas[count:]):
        lines.append(
            f"{body.source}: it has {count} shape coefficients, and the poses {len(betas)}: the rest is left out"
        )
    betas = betas[:count]
    vertices = body.shaped(betas)
    joints = body.joints(vertices)
    skeleton = Skeleton(tuple(body.names), body.parents, joints)
    spread = shapes[:, :count] - betas
    worst = spread[int(np.abs(spread).sum(axis=1).argmax())]
    moved = 1e3 * np.linalg.norm(body.shapedirs[..., :count] @ worst, axis=1)
    if moved.max() > 0.05:
        lines.append(
            f"shape: the mean over {len(shapes)} frames; in the one that differs most the skin is {moved.mean():.1f} mm"
            f" off on average, {moved.max():.1f} mm at most: track with one shape for all frames where that matters"
        )
    else:
        lines.append(f"shape: the same in all {len(shapes)} frames")
    height = float(np.ptp(vertices, axis=0).max())
    lines.insert(0, f"body: {body.kind}, {len(vertices)} vertices, {len(joints)} joints, {height:.2f} m")
    tpose = np.zeros_like(joints)  # it rests in a T pose
    for side, sign in (("left", 1.0), ("right", -1.0)):
        tpose[body.names.index(f"{side}_hip"), 2] = sign * LEG_SPREAD
    weights = normalized(body.weights)
    parts = (body.source, body.kind, vertices, body.faces, weights, skeleton, tpose)
    return BodyTemplate(*parts, tuple(lines), body, betas)


def normalized(weights: Float64[np.ndarray, "v j"]) -> Float64[np.ndarray, "v j"]:
    """Skinning weights whose rows sum to one, none below zero."""
    kept = np.maximum(weights, 0)
    return kept / np.maximum(kept.sum(axis=1, keepdims=True), 1e-12)


def bending_cost(body: SmplBody, rotvecs: Float64[np.ndarray, "n j 3"]) -> str:
    """What leaving out the model's pose-dependent offsets costs, in words: skinning transforms cannot express them."""
    if body.posedirs is None:
        return "offsets that depend on the pose: the model file has none"
    some = np.unique(np.linspace(0, len(rotvecs) - 1, SOME_FRAMES).round().astype(int))
    lengths = []
    for turns in rotvecs[some, 1:]:
        feature = (Rotation.from_rotvec(turns).as_matrix() - np.eye(3)).reshape(-1)
        lengths.append(np.linalg.norm(body.posedirs @ feature, axis=1))
    moved = 1e3 * np.concatenate(lengths)
    told = f"{moved.mean():.1f} mm on average, {np.percentile(moved, 95):.1f} mm at the 95th percentile"
    return f"offsets that depend on the pose (posedirs) are left out: {told}, {moved.max():.1f} mm at most"


def check_metres(template: BodyTemplate) -> None:
    """Raise UserError where the body is no person in metres."""
    height = float(np.ptp(template.vertices, axis=0).max())
    if not 0.3 < height < 10:
        raise UserError(f"{template.source}: the body measures {height:.3g} m; expected metres: scale the model's file")
