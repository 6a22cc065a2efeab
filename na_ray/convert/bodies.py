"""The body that poses move, from any of its files: a model of SMPL's family, a rigged .glb, or the published files."""

import os

import numpy as np

from na_ray.capture.layout import BODY_FILES
from na_ray.capture.rig import Pose
from na_ray.config.values import UserError
from na_ray.convert.body import BodyTemplate, bending_cost, check_metres, shaped_template
from na_ray.convert.poses import Track, poses_of, rotvecs_of
from na_ray.formats.smpl_body import read_smpl_body

KINDS = "an SMPL, SMPL-H or SMPL-X model (.npz, .pkl), a rigged .glb, or a folder with " + ", ".join(BODY_FILES)


def open_body(path: str, track: Track) -> tuple[BodyTemplate, list[Pose], list[str]]:
    """(the body, its pose at each frame of the track, lines). Raises UserError for another file."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file; --body is {KINDS}")
    ending = os.path.splitext(path)[1].lower()
    if ending in (".npz", ".pkl"):
        return _smpl(path, track)
    if ending != ".glb" and not os.path.isdir(path):
        raise UserError(f"{path}: --body is {KINDS}")
    # torch comes with these, and SMPL's models need none of it.
    from na_ray.convert.rigs import glb_template, published_template, rig_poses

    template = glb_template(path) if ending == ".glb" else published_template(path.rstrip("/"))
    check_metres(template)
    poses, lines = rig_poses(template, track)
    return template, poses, lines


def _smpl(path: str, track: Track) -> tuple[BodyTemplate, list[Pose], list[str]]:
    body = read_smpl_body(path)
    template = shaped_template(body, track.shapes)
    check_metres(template)
    rotvecs, lines = rotvecs_of(track, body)
    poses = poses_of(rotvecs, *_moves(track), template.skeleton)
    return template, poses, [*lines, bending_cost(body, rotvecs), *root_hint(rotvecs, track)]


def _moves(track: Track) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([p.Rh for p in track.people]), np.stack([p.Th for p in track.people])


def root_hint(rotvecs: np.ndarray, track: Track) -> list[str]:
    """A line where the root turns in `poses` and not in `Rh`: EasyMocap itself writes it the other way."""
    if np.abs(rotvecs[:, 0]).max() < 1e-3 or max(np.abs(p.Rh).max() for p in track.people) > 1e-6:
        return []
    return [
        "the root's rotation stands in poses (SMPL's global_orient) and Rh is zero: it is taken to turn about the root "
        "joint; where the mesh misses the person in inspect's overlay, Th belongs to another formula"
    ]
