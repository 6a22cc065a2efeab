"""The page that turns an actor: of its folder, or of a motion's Gaussians."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from na_ray.actor import Actor, open_actor
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose
from na_ray.checkpoint import TrainedAvatar
from na_ray.config.values import UserError
from na_ray.export.html import SplatPose, html_page
from na_ray.models.gaussians import Gaussians
from na_ray.render import encode

SHORT = 12
"""Poses of the page of an actor alone."""
STRIDE = 2
"""Training frames from one of them to the next."""


def actor_page(folder: Path) -> str | None:
    """The page of an actor's folder: some of its training poses, in the mean map; None where it has no splats."""
    actor = open_actor(folder)
    if "splats" not in actor.networks:
        return None
    poses, mean = actor.poses()[: SHORT * STRIDE : STRIDE], actor.mean_texture()
    return motion_page(actor, actor.avatar("splats"), ((pose, mean) for pose in poses), actor.fps / STRIDE)


def motion_page(actor: Actor, avatar: TrainedAvatar, motion: Iterable[tuple[Pose, Map]], fps: float) -> str:
    """The page of a motion: poses with their texture maps, at so many frames a second."""
    found = []
    for pose, texture in motion:
        found.append(SplatPose.of(*gaussians_of(avatar, pose, texture)))
    eye = None if actor.camera is None else actor.camera.center
    background = (np.array(avatar.config.data.background) + 1) / 2
    return html_page(found, actor.title, fps, actor.up, eye, background.tolist())


def gaussians_of(avatar: TrainedAvatar, pose: Pose, texture: Map) -> tuple[Gaussians, Float64[np.ndarray, "3"]]:
    """An avatar's Gaussians at a pose, and their origin (world, m). Raises UserError for one that has none."""
    found = avatar.model.gaussians(encode(avatar, pose, texture))
    if found is None:
        raise UserError(f"the {avatar.name} is not made of Gaussians: train the stage splats")
    return found
