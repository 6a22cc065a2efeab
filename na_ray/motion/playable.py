"""Motions to play by frame number, and what a filmed one has beside its poses: for the viewer and for exports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from na_ray.actor import Actor
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Split
from na_ray.capture.image import Map
from na_ray.capture.rig import Pose
from na_ray.config.values import UserError
from na_ray.motion.direction import trained_poses
from na_ray.motion.posed import SplitMotion
from na_ray.motion.reshaped import ReshapedMotion, Reshaping
from na_ray.motion.sources import Reading, open_motion


@dataclass(frozen=True, eq=False)
class PlayableMotion:
    """A motion. What it holds is read frame by frame."""

    name: str
    """As the viewer lists it."""
    fps: float
    num_frames: int
    pose: Callable[[int], Pose]
    """The body at a frame."""
    argument: str
    """What `na-ray animate --motion` takes for it."""
    texture: Callable[[int], Map] | None = None
    """The texture map of a frame, where the motion has its own."""
    cameras: Sequence[Camera] = ()
    """Those that filmed it."""
    photograph: Callable[[int, int], Map] | None = None
    """The picture of a frame by a camera (both by position), (h, w, 3 or 4) uint8."""
    lines: Sequence[str] = ()
    """What the user should know of how it was read."""


def training_clip(actor: Actor) -> PlayableMotion:
    """The poses that the actor was trained on."""
    poses = actor.poses()
    knobs = actor.knobs(next(iter(actor.networks)))
    argument = f"{knobs.capture.rstrip('/')}/{knobs.data.train_split}"
    return PlayableMotion("training poses", _fps(actor), len(poses), poses.__getitem__, argument)


def split_clip(split: Split, fps: float, num_joints: int, reshaping: Reshaping | None = None) -> PlayableMotion:
    """A capture's split. Raises UserError, one line, for that of another body.

    `reshaping`: the other shape that the body was given.
    """
    count = len(split.pose(0).joints_RT)
    if count != num_joints:
        found = f"its poses have {count} joints, but the actor's body has {num_joints}"
        raise UserError(f"{split.files.folder}: {found}: give a motion of the same body")
    whole = SplitMotion(split, range(split.num_frames), fps)
    filmed = split.files.kind != "poses"
    return PlayableMotion(
        split.name,
        fps,
        split.num_frames,
        split.pose if reshaping is None else ReshapedMotion(whole, reshaping).pose,
        split.files.folder,
        split.texture if split.has_textures else None,
        split.cameras if filmed else (),
        split.image if filmed else None,
    )


def _fps(actor: Actor) -> float:
    return float(actor.values.get("fps", 25.0))


def motion_clip(path: str, actor: Actor) -> PlayableMotion:
    """A motion's files, as `na-ray animate` takes them, brought to the actor's body.

    Raises UserError or FileNotFoundError, one line, for what is none.
    """
    config = actor.knobs(next(iter(actor.networks)))
    found = open_motion(path, trained_poses(actor, config, None), actor.rig, Reading(_fps(actor)))
    if found.split is not None and len(found.split.pose(0).joints_RT) == actor.rig.num_joints:
        return split_clip(found.split, _fps(actor), actor.rig.num_joints, actor.reshaping)
    return PlayableMotion(
        found.name, found.poses.fps, found.poses.num_frames, found.poses.pose, path, lines=found.lines
    )
