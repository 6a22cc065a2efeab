"""What a conversion knows before the first picture is read: cameras, body, poses, splits, and lines for the user."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64

from na_ray.capture import video
from na_ray.capture.camera import Camera
from na_ray.capture.checks.scale import bodies_of, camera_faults, intrinsics_notes
from na_ray.capture.keypoints import Keypoints
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.storage import basename
from na_ray.capture.trajectory import up_of
from na_ray.config.values import UserError, parse_indices
from na_ray.convert import atlas
from na_ray.convert.bodies import open_body
from na_ray.convert.body import BodyTemplate
from na_ray.convert.cameras import crooked, for_pictures, published, scaled
from na_ray.convert.clips import CameraClip, common_range
from na_ray.convert.footage import WHITE
from na_ray.convert.joints import keypoints_of
from na_ray.convert.lens import Lens
from na_ray.convert.matte import ChromaMatte, MaskMatte, Matte, PlateMatte, Rgb
from na_ray.convert.poses import Track, choose, transforms
from na_ray.convert.source import SourceSequence

FPS = 25.0
"""Frames a second where neither the footage nor the user says."""
FAR = 50.0
"""Metres from which no camera shows more of a person than specks."""
DRIFT = 1.5
"""Frames by which the videos' clocks may part until the end: files round their length by one."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """What a user may choose."""

    body: str
    """The model's file, or a folder with the four published ones."""
    uv: str | None = None
    """An OBJ with texture coordinates."""
    test_frames: str | None = None
    """Frames for the split `testing`."""
    person: str | None = None
    """Whom to follow."""
    undistort: bool = True
    """Whether distortion is removed from the pictures."""
    unit: float = 1.0
    """Metres a unit of the calibration."""
    fps: float | None = None
    """Frames a second."""
    background: str = "white"
    """A colour, `chroma`, or a folder with pictures of the empty set."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is known before the first picture is read."""

    source: SourceSequence
    options: ConvertOptions
    clips: tuple[CameraClip, ...]
    lenses: tuple[Lens, ...]
    cameras: tuple[Camera, ...]
    template: BodyTemplate
    unwrapping: atlas.Unwrapping
    poses: Mapping[int, Pose]
    """By frame number."""
    splits: Mapping[str, tuple[int, ...]]
    """Split to frame numbers."""
    fps: float
    up: Float64[np.ndarray, "3"]
    background: Rgb
    """What is put behind the person."""
    matte: Matte | None
    """What tells the person from the background; None: nothing does."""
    lines: tuple[str, ...]
    """What the user should know."""
    keypoints: Keypoints | None
    """Joints that were found in the pictures."""

    @property
    def rig(self) -> Rig:
        """The body as the capture's files hold it."""
        skeleton = self.template.skeleton
        tpose = transforms(self.template.tpose[None], skeleton)[0]
        parts = (self.template.vertices, self.unwrapping.uv, self.template.weights, tpose)
        vertices, uv, weights, tpose = (part.astype(np.float32) for part in parts)
        return Rig(vertices, self.template.faces, uv, self.unwrapping.uv_faces, weights, tpose)


def plan(source: SourceSequence, options: ConvertOptions) -> Plan:
    """Look at everything but the pictures. Raises UserError, one line, for what cannot be converted."""
    lines = list(source.lines)
    track = choose(source.people, options.person, source.track)
    clips = tuple(CameraClip(item.camera, item.path, item.masks) for item in source.footage)
    filmed, told = common_range(clips)
    source, counted = _counted(source, clips)
    track = _filmed(track, source, filmed)
    lens_lines, lenses, cameras = _cameras(source, clips, options)
    template, poses, body_lines = open_body(options.body, track)
    if options.uv is not None:
        unwrapping = atlas.from_obj(options.uv, template.vertices, template.faces)
    elif template.uv is not None and template.uv_faces is not None:
        unwrapping = atlas.Unwrapping(template.uv, template.uv_faces, (f"texture coordinates: {template.source}",))
    else:
        unwrapping = atlas.made(template.vertices, template.faces)
    splits = _splits(track, options.test_frames)
    fps, told_fps = _rate(clips, options.fps)
    background, matte, told_matte = background_of(options.background, clips)
    about_body = (*track.lines, *template.lines, *body_lines, *unwrapping.lines)
    lines += [*told, *counted, *lens_lines, *about_body, *told_fps, *told_matte]
    named = dict(zip(track.frames, poses, strict=True))
    up = up_of(cameras)
    keypoints = keypoints_of(source.keypoints, track.person, splits, template.skeleton.names, options.unit)
    world = (named, splits, fps, up, background, matte, tuple(lines), keypoints)
    made = Plan(source, options, clips, lenses, cameras, template, unwrapping, *world)
    return _checked(made)


def _counted(source: SourceSequence, clips: Sequence[CameraClip]) -> tuple[SourceSequence, list[str]]:
    """(the source, lines): poses that are numbered from 1, or behind frames that were cut off, begin with the videos.

    Only where the numbers leave no doubt: the last of them is none of a frame.
    """
    longest = max(clip.frames for clip in clips)
    first, last = min(source.people), max(source.people)
    if source.positions or not clips[0].is_video or first < 1 or last < longest:
        return source, []
    start = first if last - first + 1 == longest else 1
    if last - start >= longest:
        return source, []
    found = f"poses are numbered {first} to {last}, the videos have {longest} frames"
    positions = {number: number - start for number in source.people}
    return replace(source, positions=positions), [f"{found}: pose {start} is taken for the first frame"]


def _filmed(track: Track, source: SourceSequence, filmed: range) -> Track:
    """The frames that all cameras have. Raises UserError where there are none."""
    kept = [number for number in track.frames if source.position(number) in filmed]
    if not kept:
        there = [n for n, at in source.positions.items() if at in filmed] or [filmed.start, filmed.stop - 1]
        found = f"tracked in frames {track.frames[0]} to {track.frames[-1]}, filmed in {min(there)} to {max(there)}"
        raise UserError(
            f"{source.track}: {found}: nobody was tracked in a frame that all cameras have: copy both again"
        )
    lost = len(track.frames) - len(kept)
    lines = [f"{lost} tracked frames are left out: not all cameras have them"] if lost else []
    untracked = len(filmed) - len(kept)
    lines += [f"{untracked} of {len(filmed)} filmed frames are left out: nobody was tracked"] if untracked else []
    return replace(track.among(kept), lines=(*track.lines, *lines))


def _cameras(
    source: SourceSequence, clips: Sequence[CameraClip], options: ConvertOptions
) -> tuple[list[str], tuple[Lens, ...], tuple[Camera, ...]]:
    """(lines, the cameras as calibrated, those of the pictures that will be written)."""
    lines, lenses, cameras = [], [], []
    for camera, clip in zip(source.cameras, clips, strict=True):
        height, width = clip.size
        fitted, told = for_pictures(scaled(camera, options.unit), width, height, source.calibration[0])
        lens = Lens(fitted.K, fitted.distortion, width, height)
        K = lens.undistorted().K if options.undistort else fitted.K
        lenses.append(lens)
        cameras.append(published(fitted, K))
        lines += told
    bent = [camera.name for camera in source.cameras if np.any(camera.distortion)]
    lines += crooked(source.cameras)
    what = "removed from" if options.undistort else "left in (--undistort off)"
    lines.append(f"cameras: {', '.join(c.name for c in cameras)}; lens distortion {what} the pictures of {len(bent)}")
    return lines, tuple(lenses), tuple(cameras)


def _splits(track: Track, test_frames: str | None) -> dict[str, tuple[int, ...]]:
    """Frame numbers of each split."""
    if test_frames is None:
        return {"training": track.frames}
    tested = set(parse_indices(test_frames, max(track.frames) + 1, "--test-frames")) & set(track.frames)
    training = tuple(number for number in track.frames if number not in tested)
    if not tested or not training:
        which = "for testing" if not tested else "for training"
        found = f"frames {track.frames[0]} to {track.frames[-1]}, of which {test_frames!r} leaves none {which}"
        raise UserError(f"--test-frames: there are {found}: choose others")
    return {"training": training, "testing": tuple(sorted(tested))}


def _rate(clips: Sequence[CameraClip], given: float | None) -> tuple[float, list[str]]:
    """(frames a second, where that is from, and a warning where the videos of one take say different ones)."""
    rates = {clip.path: video.header(clip.path).fps for clip in clips if clip.is_video}
    known = {path: rate for path, rate in rates.items() if rate > 0}
    lines = _drift(known, min(clip.frames for clip in clips))
    if given is not None:
        return given, [f"frames a second: {given:g}, as --fps says", *lines]
    if known:
        path, rate = next(iter(known.items()))
        return rate, [f"frames a second: {rate:g}, as {basename(path)} says", *lines]
    return FPS, [f"frames a second: {FPS:g} is taken, pictures do not say: --fps, where it was another"]


def _drift(rates: Mapping[str, float], frames: int) -> list[str]:
    """A warning where frames of the same number come to be of other instants before the end."""
    if not rates:
        return []
    slow, fast = min(rates, key=lambda path: rates[path]), max(rates, key=lambda path: rates[path])
    behind = frames * (1 - rates[slow] / rates[fast])
    if behind < DRIFT:
        return []
    found = f"{basename(slow)} has {rates[slow]:g} frames a second, {basename(fast)} {rates[fast]:g}"
    return [
        f"warning: {found}: {behind:.0f} frames apart at the end, where frame f of each camera must be one instant: "
        "bring them to one rate (ffmpeg -i IN -fps_mode cfr -r RATE OUT)"
    ]


def _checked(made: Plan) -> Plan:
    """With warnings where cameras and body do not fit each other. Raises UserError for a camera within the body."""
    bodies = bodies_of(made.rig, [made.poses[number] for number in made.splits["training"]])
    for camera in made.cameras:
        for points in bodies:
            if (points.min(axis=0) < camera.center).all() and (camera.center < points.max(axis=0)).all():
                todo = "the calibration is in another unit than metres (--unit), or the camera is another one's"
                raise UserError(f"{made.source.calibration[-1]}: camera {camera.name} stands within the body: {todo}")
    away = _away(made.cameras, bodies)
    if away > FAR:
        found = f"the tracked body is {away:.0f} m away from the cameras"
        line = (
            f"warning: {found}: where its Th is in millimetres, multiply it by 0.001, and track in the cameras' world"
        )
        return replace(made, lines=(*made.lines, line))
    defects, notes = camera_faults(made.cameras, bodies, "calibrate again")
    hints = [f"warning: {line}" for line in (*defects, *notes)]
    hints += [f"warning: {line}" for line in intrinsics_notes(made.cameras)]
    if defects:
        hints.append(
            "warning: where the calibration is in another unit, --unit says how many metres one is (mm: 0.001)"
        )
    return replace(made, lines=(*made.lines, *hints))


def _away(cameras: Sequence[Camera], bodies: Sequence[Float[np.ndarray, "n 3"]]) -> float:
    """Metres between the cameras and the body, beyond the room that the cameras stand in."""
    centers, middle = np.stack([camera.center for camera in cameras]), np.mean([p.mean(axis=0) for p in bodies], axis=0)
    reach = float(np.linalg.norm(centers - centers.mean(axis=0), axis=1).max())
    return float(np.linalg.norm(middle - centers.mean(axis=0))) - 10 * reach


COLORS: dict[str, Rgb] = {"white": WHITE, "black": (0, 0, 0)}


def background_of(text: str, clips: Sequence[CameraClip]) -> tuple[Rgb, Matte | None, list[str]]:
    """(the colour behind the person, what tells the person from the background, lines). Raises UserError."""
    if text == "chroma":
        return WHITE, ChromaMatte(), []
    if text.startswith("chroma:"):
        return WHITE, ChromaMatte(_color(text.removeprefix("chroma:"))), []
    if os.path.isdir(text):
        return WHITE, PlateMatte(text), []
    color = COLORS[text] if text in COLORS else _color(text)
    if all(clip.masks is not None for clip in clips):
        return color, MaskMatte(), []
    told = "no masks: the pictures keep their background; --background chroma or plate/ cuts the person out"
    return color, None, [told]


def _color(text: str) -> Rgb:
    words = [word.strip() for word in text.split(",")]
    if len(words) != 3 or not all(word.isdecimal() and int(word) <= 255 for word in words):
        expected = "expected white, black, R,G,B (0 to 255), chroma, chroma:R,G,B, or a folder of pictures of the set"
        raise UserError(f"--background is {text[:60]!r}; {expected}")
    r, g, b = map(int, words)
    return r, g, b
