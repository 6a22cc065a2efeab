"""Any motion a user names, opened for an actor: a capture's split, its transforms alone, or another program's file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from na_ray.capture.about import read_about
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.layout import SplitFiles, by_number, is_split, series_of
from na_ray.capture.rig import Rig
from na_ray.capture.skeleton import Skeleton, skeleton_of
from na_ray.capture.storage import basename, join, listing, parent, read_text
from na_ray.capture.storage.archive import open_zip, read_member
from na_ray.config.values import UserError
from na_ray.formats.bvh import read_bvh
from na_ray.formats.clip import MotionClip
from na_ray.formats.smpl_motion import SmplMotion, mean_skeleton, read_npz, read_people, root_choices
from na_ray.motion.matching import NamedSkeleton
from na_ray.motion.posed import JointMotion, PoseSource, SplitMotion, local_rotations
from na_ray.motion.retarget import Placing, retarget, sole_height
from na_ray.motion.trained_poses import TrainedPoses

Rest = Literal["auto", "smpl", "actor"]
"""What SMPL's zero rotations stand for: SMPL's T pose, or the actor's rest. auto: the actor's if it is a T pose."""

KINDS = "a capture's split, a folder or zip of transform/*.json, EasyMocap's smpl folder, .npz, .json or .bvh"
"""What may be named."""

SAME_BONES = 5e-3
"""A capture's body is the actor's where no joint at rest is farther away, m."""


@dataclass(frozen=True, eq=False)
class OpenedMotion:
    """A motion ready to be drawn."""

    name: str
    """What it is called in messages."""
    poses: PoseSource
    lines: list[str] = field(default_factory=list)
    """What the user should know of how it got here."""
    split: Split | None = None
    """The capture's split that it is, whose frames may have texture maps of their own."""
    positions: Sequence[int] = ()
    """Positions in that split."""
    filmed: Split | None = None
    """A split in whose world the motion takes place, and which cameras may have filmed."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How a motion is to be read."""

    fps: float = 25.0
    """Frames a second that are wanted."""
    motion_fps: float | None = None
    """Frames a second that the motion has, where its files do not say; None: those that are wanted."""
    rest: Rest = "auto"
    placing: Placing = field(default_factory=Placing)


def open_motion(path: str, trained: TrainedPoses, rig: Rig, reading: Reading | None = None) -> OpenedMotion:
    """Open a motion for an actor: `trained` says how it stands and `rig` how it looks.

    Raises UserError or FileNotFoundError, one line, for what is none, is damaged, or is of another body.
    """
    reading = reading or Reading()
    lower = path.lower()
    if lower.endswith(".bvh"):
        return _retargeted(read_bvh(path), trained, rig, reading)
    if lower.endswith(".npz"):
        return _of_smpl(read_npz(path), trained, rig, reading)
    if lower.endswith(".json"):
        return _of_smpl(read_people(path), trained, rig, reading)
    split = _find_split(path)
    if split is not None:
        return _of_split(split, trained, rig, reading)
    names = listing(path)
    if not names:
        raise FileNotFoundError(f"{path}: no such motion; expected {KINDS}: check the path")
    if "smpl" in names or by_number(path, names, (".json",)):
        return _of_smpl(read_people(path), trained, rig, reading)
    raise UserError(f"{path}: no motion (it holds {', '.join(names[:8])}); expected {KINDS}: check the path")


def _find_split(path: str) -> Split | None:
    """A split, `CAPTURE:SPLIT` or its folder; or transforms alone, in a folder or a zip file. None: something else."""
    if path.lower().endswith(".zip"):
        members = open_zip(path).namelist()
        files = by_number(path, [m for m in members if not m.startswith("__MACOSX")], (".json",))
        files = {n: name for n, name in files.items() if basename(name) != "transform_tpose.json"}
        if not files:
            raise UserError(f"{path}: no frames such as transform/000000.json: check the file")
        return (
            _bare_split(path, files, archive=True)
            if _is_transform(read_member(path, next(iter(files.values()))))
            else None
        )
    names = listing(path)
    if is_split(names):
        return Capture.open(path).split(basename(path.rstrip("/")))
    files = by_number(path, [n for n in names if n != "transform_tpose.json"], (".json",))
    if files:
        text = read_text(join(path, next(iter(files.values()))))
        return _bare_split(path, files, archive=False) if _is_transform(text) else None
    return _named_split(path, names)


def _named_split(path: str, names: Sequence[str]) -> Split | None:
    """`CAPTURE:SPLIT`; a capture alone is refused with the splits that it has."""
    if names:
        try:
            capture = Capture.open(path)
        except UserError:
            return None
        raise UserError(f"{path}: a capture has several motions: name one, as {join(path, capture.splits[0])}")
    place, colon, name = path.rpartition(":")
    if colon and listing(place):
        return Capture.open(place).split(name)
    return None


def _is_transform(text: str | bytes) -> bool:
    """Whether a JSON file is a frame's transforms of the published layout."""
    try:
        values = json.loads(text)
    except ValueError:
        return False
    return isinstance(values, dict) and "joints_RT" in values


def _bare_split(path: str, files: dict[int, str], archive: bool) -> Split:
    """Transforms that lie in a folder or zip file by themselves."""
    series = series_of(path, files, archive)
    nothing = (None, None, None, None, None)
    return Split(SplitFiles(basename(path), path, parent(path), "poses", tuple(files), series, *nothing))


def _fps_of(split: Split, reading: Reading) -> float:
    said = read_about(split.files.root).get("fps")
    if reading.motion_fps is not None:
        return reading.motion_fps
    return float(said) if isinstance(said, int | float) and 0 < said < np.inf else reading.fps


def _of_split(split: Split, trained: TrainedPoses, rig: Rig, reading: Reading) -> OpenedMotion:
    """A split of the actor's own capture as it is; of another body's, brought to the actor."""
    first = split.pose(0)
    fps = _fps_of(split, reading)
    count = len(first.joints_RT)
    if count != rig.num_joints:
        found = f"its poses have {count} joints, but the actor's body has {rig.num_joints}"
        raise UserError(f"{split.files.folder}: {found}: it is a motion of another body, whose joints nobody names")
    skeleton = skeleton_of(split)
    same = _is_own(split, skeleton, trained.skeleton, rig)
    if same and fps == reading.fps:
        positions = range(split.num_frames)
        return OpenedMotion(split.name, SplitMotion(split, positions, fps), [], split, positions, split)
    clip = _clip_of(split, skeleton, fps).resampled(reading.fps)
    if same:
        poses = JointMotion(skeleton, clip.rotvecs, clip.offsets[0], clip.fps)
        told = f"{split.num_frames} frames at {fps:g} a second became {clip.num_frames} at {clip.fps:g}"
        return OpenedMotion(split.name, poses, [f"{split.files.folder}: {told}"], filmed=split)
    opened = _retargeted(clip, trained, rig, reading)
    opened.lines.insert(0, f"{split.files.folder}: a motion of another body, brought to this actor's bones")
    return opened


def _is_own(split: Split, skeleton: Skeleton, actor: Skeleton, rig: Rig) -> bool:
    """Whether a split's poses, which have as many joints as the actor's body, are that body's: it lies beside the body,
    or has its bones. Poses whose joints nobody names are taken for the actor's, for want of anything better."""
    try:
        if np.array_equal(split.rig.vertices, rig.vertices):
            return True
    except FileNotFoundError:
        pass  # transforms alone: their bones tell
    if skeleton.names != actor.names or skeleton.names[0] == "joint_0":
        return True
    return bool(np.linalg.norm(skeleton.rest - actor.rest, axis=1).max() <= SAME_BONES)


def _clip_of(split: Split, skeleton: Skeleton, fps: float) -> MotionClip:
    """A split's poses as rotations of its joints."""
    rotvecs = np.empty((split.num_frames, len(skeleton.names), 3))
    places = np.empty((split.num_frames, 3))
    root = skeleton.parents.index(-1)
    for i in range(split.num_frames):
        pose = split.pose(i)
        rotvecs[i] = Rotation.from_matrix(local_rotations(pose, skeleton.parents)).as_rotvec()
        places[i] = pose.joints[root]
    return MotionClip(split.files.folder, fps, skeleton, rotvecs, {root: places})


def _retargeted(clip: MotionClip, trained: TrainedPoses, rig: Rig, reading: Reading) -> OpenedMotion:
    """A motion of another skeleton, brought to the actor at the frame rate that is wanted."""
    said = f"{clip.num_frames} frames at {clip.fps:.6g} a second"
    wanted = clip.resampled(reading.fps)
    if clip.fps != reading.fps:
        said += f" became {wanted.num_frames} at {reading.fps:g}"
    poses, lines = retarget(wanted, trained, rig, reading.placing)
    return OpenedMotion(basename(clip.source), poses, [f"{clip.source}: {said}", *lines])


def _of_smpl(motion: SmplMotion, trained: TrainedPoses, rig: Rig, reading: Reading) -> OpenedMotion:
    """SMPL's numbers on the bones that they turn, its origin where the feet come nearer to the actor's ground."""
    rest, told = _smpl_rest(trained.skeleton, reading.rest)
    clips = [motion.clip(s, reading.motion_fps or reading.fps) for s in root_choices(trained.skeleton, rest)]
    apart = [abs(sole_height(clip, trained, rig, reading.placing) - trained.ground) for clip in clips]
    opened = _retargeted(clips[0 if apart[0] <= apart[1] + 1e-3 else 1], trained, rig, reading)
    opened.lines.insert(1, told)
    if motion.fps is None and reading.motion_fps is None:
        opened.lines.insert(1, f"its files do not say its frame rate: taken for {reading.fps:g} (--motion-fps)")
    return opened


def _smpl_rest(actor: Skeleton, rest: Rest) -> tuple[Skeleton, str]:
    """The bones that SMPL's rotations turn, and that in words."""
    is_t_pose = NamedSkeleton.of(actor).rests_in_t_pose if len(actor.names) == len(mean_skeleton().names) else False
    if rest == "actor" or (rest == "auto" and is_t_pose):
        if len(actor.names) != len(mean_skeleton().names):
            raise UserError(
                f"--rest actor: the actor has {len(actor.names)} joints; expected SMPL's: choose --rest smpl"
            )
        return actor, "rotations of zero are the actor's rest"
    return (
        mean_skeleton(),
        "rotations of zero are SMPL's T pose (the actor rests in another: --rest actor says otherwise)",
    )
