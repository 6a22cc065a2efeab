"""Bodies that are none of SMPL's models: a rigged .glb, or the four published files, driven by SMPL's joints.

Their rests differ (an A pose, bones of other lengths): both are brought to a T pose by the directions of their bones
before rotations are copied, as for any motion (`na_ray.motion.retarget`). The hips go where the tracked body's are.
"""

import os
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from na_ray.capture.about import NAME, read_about
from na_ray.capture.layout import BODY_FILES
from na_ray.capture.rig import Pose, parse_json, read_rig
from na_ray.capture.skeleton import SMPL_JOINTS, SMPL_PARENTS, Skeleton, named_joints
from na_ray.capture.storage import join, read_text
from na_ray.config.values import UserError
from na_ray.convert import atlas
from na_ray.convert.body import LEG_SPREAD, BodyTemplate, normalized
from na_ray.convert.poses import Track, poses_of, rotvecs_of
from na_ray.formats.clip import MotionClip
from na_ray.formats.rigged_glb import read_glb
from na_ray.formats.smpl_motion import mean_skeleton
from na_ray.motion.matching import NamedSkeleton, aligned, match
from na_ray.motion.retarget import turned


def glb_template(path: str) -> BodyTemplate:
    """The body of a rigged .glb."""
    rig = read_glb(path)
    if rig.parents.count(-1) != 1:
        raise UserError(f"{path}: {rig.parents.count(-1)} root joints; expected one: parent the skeleton to its hips")
    skeleton = Skeleton(rig.names, rig.parents, rig.joints)
    told = [f"{path}: {len(rig.meshes)} meshes are joined: {', '.join(rig.meshes[:12])}"] if len(rig.meshes) > 1 else []
    uv: tuple[np.ndarray | None, np.ndarray | None] = (rig.uv, rig.uv_faces) if len(rig.uv_faces) else (None, None)
    if len(rig.uv_faces) and (what := atlas.fault(rig.uv, rig.uv_faces)):
        told.append(f"{path}: its texture coordinates are left out: {what}")
        uv = (None, None)
    template = _template(path, "rigged .glb", rig.vertices, rig.faces, rig.weights, skeleton, *uv)
    return replace(template, lines=(*template.lines, *told))


def published_template(folder: str) -> BodyTemplate:
    """The body of a folder with the four published files."""
    paths = [join(folder, name) for name in BODY_FILES]
    missing = next((path for path in paths if not os.path.isfile(path)), None)
    if missing is not None:
        expected = f"expected {', '.join(BODY_FILES)} in a folder that is --body"
        raise FileNotFoundError(f"{missing}: no such file; {expected}; of SMPL's models, name the file")
    rig = read_rig(*paths)
    values = parse_json(read_text(paths[3]), paths[3])
    try:
        joints = np.array(values["joints"], np.float64).reshape(rig.num_joints, 3)
    except (KeyError, ValueError, TypeError):
        expected = f"expected joints, {rig.num_joints} x 3: where they are in the T pose"
        raise UserError(f"{paths[3]}: its rest joints are not known; {expected}: add them") from None
    A = rig.tpose.astype(np.float64)
    rest = np.linalg.solve(A[:, :3, :3], (joints - A[:, :3, 3])[..., None])[..., 0]
    named = named_joints(read_about(folder).get("joints"), join(folder, NAME))
    if named is None and rig.num_joints != len(SMPL_JOINTS):
        raise UserError(f"{folder}: {rig.num_joints} joints without names: name them in {NAME}, 'joints'")
    skeleton = Skeleton(*(named or (tuple(SMPL_JOINTS), SMPL_PARENTS)), rest)
    vertices, weights = rig.vertices.astype(np.float64), rig.weights.astype(np.float64)
    uv = rig.uv.astype(np.float64), rig.uv_faces
    return _template(folder, "published files", vertices, rig.faces, weights, skeleton, *uv)


def _template(
    path: str,
    kind: str,
    vertices: Float64[np.ndarray, "v 3"],
    faces: np.ndarray,
    weights: Float64[np.ndarray, "v j"],
    skeleton: Skeleton,
    uv: np.ndarray | None,
    uv_faces: np.ndarray | None,
) -> BodyTemplate:
    height = float(np.ptp(vertices, axis=0).max())
    lines = (f"body: {kind}, {len(vertices)} vertices, {len(skeleton.names)} joints, {height:.2f} m",)
    return BodyTemplate(
        source=path,
        kind=kind,
        vertices=vertices,
        faces=faces,
        weights=normalized(weights),
        skeleton=skeleton,
        tpose=_tpose(skeleton, path),
        lines=lines,
        uv=uv,
        uv_faces=uv_faces,
    )


def _tpose(skeleton: Skeleton, path: str) -> Float64[np.ndarray, "j 3"]:
    """Turns relative to the parents that bring the rest to a T pose with the legs apart."""
    named = NamedSkeleton.of(skeleton)
    try:
        B, front = named.to_t_pose(), named.basis[:, 2]
    except UserError as error:
        # Here names are those of the file: there is no other place to give them.
        raise UserError(f"{path}: {str(error).split(': name them')[0]}: rename the bones in the file") from None
    for side, sign in (("left", 1.0), ("right", -1.0)):
        if f"{side}_hip" in named.parts:
            spread = Rotation.from_rotvec(sign * LEG_SPREAD * front).as_matrix()
            for j in named.below(named.parts[f"{side}_hip"]):
                B[j] = spread @ B[j]
    local = [B[j] if p < 0 else B[p].T @ B[j] for j, p in enumerate(skeleton.parents)]
    return Rotation.from_matrix(np.stack(local)).as_rotvec()


def rig_poses(template: BodyTemplate, track: Track) -> tuple[list[Pose], list[str]]:
    """(the rig's pose at each frame, lines): the tracked body's rotations, brought to the rig's rest."""
    rotvecs, lines = rotvecs_of(track, None)
    turns, Th = np.stack([p.Rh for p in track.people]), np.stack([p.Th for p in track.people])
    skeleton = template.skeleton
    is_smpl = skeleton.names == tuple(SMPL_JOINTS) and skeleton.parents == SMPL_PARENTS
    if is_smpl and NamedSkeleton.of(skeleton).rests_in_t_pose:
        lines.append("the body rests as SMPL's does: poses are taken as they are")
        return poses_of(rotvecs, turns, Th, skeleton), lines
    Rh = Rotation.from_rotvec(turns)
    source, root = mean_skeleton(), Rotation.from_rotvec(rotvecs[:, 0])
    places = Rh.apply(source.rest[0]) + Th
    rotvecs = rotvecs.copy()
    rotvecs[:, 0] = (Rh * root).as_rotvec()
    clip = MotionClip(template.source, 25.0, source, rotvecs, {0: places})
    matching = match(source, template.skeleton)
    # Upwards is only asked for where feet stand at rest: the tracked body's own head says.
    up = (Rh * root).apply([0.0, 1.0, 0.0]).mean(axis=0)
    matching = aligned(matching, clip, up / max(float(np.linalg.norm(up)), 1e-9), 1.0)
    rotvecs, roots = turned(clip, matching, np.eye(3), 1.0)
    names = template.skeleton.names
    driven = f"{len(matching.pairs)} of the rig's {len(names)} joints are driven"
    if matching.idle:
        more = ", ..." * (len(matching.idle) > 12)
        driven += f"; the others follow their parents: {', '.join(matching.idle[:12])}{more}"
    # V = R X + Th turns about the origin: the root of X lies at its rest.
    at = template.skeleton.parents.index(-1)
    if at != 0:
        raise UserError(f"{template.source}: joint {names[at]} is the root, and {names[0]} comes first: reorder them")
    lines += [driven, "the tracked body's size is SMPL's mean for where its hips are: a rig of another size may float"]
    return poses_of(rotvecs, np.zeros((len(roots), 3)), roots - template.skeleton.rest[0], template.skeleton), lines
