"""A sequence of another program as a complete capture in the published layout.

Everything is written into a hidden folder beside the capture's, `.NAME.partial`, and renamed when it is whole: what opens
as a capture is one. The videos, which take longest, are kept there when a call is cut off, and the next one goes on with
the cameras that are missing.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64

from na_ray.capture import video
from na_ray.capture.about import write_values
from na_ray.capture.camera import Camera
from na_ray.capture.checks.scale import bodies_of, camera_faults
from na_ray.capture.layout import VIDEOS
from na_ray.capture.publish import check_free, move_into_place, write_cameras, write_rig, write_transforms
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.storage import basename, join, listing, read_bytes, size
from na_ray.capture.trajectory import up_of
from na_ray.config.values import Progress, UserError, parse_indices
from na_ray.convert import atlas
from na_ray.convert.body import SHAPES, Template, bending_cost
from na_ray.convert.bodies import open_body
from na_ray.convert.cameras import for_pictures, published, scaled
from na_ray.convert.clips import CameraClip, common_range
from na_ray.convert.footage import write_footage
from na_ray.convert.lens import Lens
from na_ray.convert.poses import Track, choose, transforms
from na_ray.convert.source import Source

FPS = 25.0
"""Frames a second where neither the footage nor the user says."""


@dataclass(frozen=True, kw_only=True)
class Options:
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
    footage: Mapping[str, Any] = field(default_factory=dict)
    """How pictures are cut out: what `write_footage` takes."""


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is known before the first picture is read."""

    source: Source
    options: Options
    clips: tuple[CameraClip, ...]
    lenses: tuple[Lens, ...]
    cameras: tuple[Camera, ...]
    template: Template
    unwrapping: atlas.Unwrapping
    poses: Mapping[int, Pose]
    """By frame number."""
    splits: Mapping[str, tuple[int, ...]]
    """Split to frame numbers."""
    fps: float
    up: Float64[np.ndarray, "3"]
    lines: tuple[str, ...]
    """What the user should know."""

    @property
    def rig(self) -> Rig:
        """The body as the capture's files hold it."""
        skeleton = self.template.skeleton
        tpose = transforms(self.template.tpose_rotvecs()[None], skeleton)[0]
        parts = (self.template.vertices, self.unwrapping.uv, self.template.weights, tpose)
        vertices, uv, weights, tpose = (part.astype(np.float32) for part in parts)
        return Rig(vertices, self.template.faces, uv, self.unwrapping.uv_faces, weights, tpose)


def plan(source: Source, options: Options) -> Plan:
    """Look at everything but the pictures. Raises UserError, one line, for what cannot be converted."""
    lines = list(source.lines)
    track = choose(source.people, options.person, source.track)
    clips = tuple(CameraClip(item.camera, item.path, item.masks) for item in source.footage)
    filmed, told = common_range(clips)
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
    fps, told_fps = _rate(source, options.fps)
    lines += [*told, *lens_lines, *track.lines, *template.lines, *body_lines, *unwrapping.lines, told_fps]
    named = dict(zip(track.frames, poses, strict=True))
    up = up_of(cameras)
    made = Plan(source, options, clips, lenses, cameras, template, unwrapping, named, splits, fps, up, tuple(lines))
    return _checked(made)


def _filmed(track: Track, source: Source, filmed: range) -> Track:
    """The frames that all cameras have. Raises UserError where there are none."""
    kept = [number for number in track.frames if source.position(number) in filmed]
    if not kept:
        found = (
            f"tracked in frames {track.frames[0]} to {track.frames[-1]}, filmed in {filmed.start} to {filmed.stop - 1}"
        )
        raise UserError(
            f"{source.track}: {found}: nobody was tracked in a frame that all cameras have: copy both again"
        )
    lost = len(track.frames) - len(kept)
    lines = [f"{lost} tracked frames are left out: not all cameras have them"] if lost else []
    untracked = len(filmed) - len(kept)
    lines += [f"{untracked} of {len(filmed)} filmed frames are left out: nobody was tracked"] if untracked else []
    return Track(*_of(track.among(kept)), (*track.lines, *lines))


def _of(track: Track) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    return track.frames, track.people


def _cameras(
    source: Source, clips: Sequence[CameraClip], options: Options
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


def _rate(source: Source, given: float | None) -> tuple[float, str]:
    """(frames a second, where that is from)."""
    if given is not None:
        return given, f"frames a second: {given:g}, as --fps says"
    path = source.footage[0].path
    rate = video.header(path).fps if path.lower().endswith(VIDEOS) else 0.0
    if rate > 0:
        return rate, f"frames a second: {rate:g}, as {basename(path)} says"
    return FPS, f"frames a second: {FPS:g} is taken, pictures do not say: --fps, where it was another"


def _checked(made: Plan) -> Plan:
    """With warnings where cameras and body do not fit each other. Raises UserError for a camera within the body."""
    bodies = bodies_of(made.rig, [made.poses[number] for number in made.splits["training"]])
    for camera in made.cameras:
        for points in bodies:
            if (points.min(axis=0) < camera.center).all() and (camera.center < points.max(axis=0)).all():
                todo = "the calibration is in another unit than metres (--unit), or the camera is another one's"
                raise UserError(f"{made.source.calibration[-1]}: camera {camera.name} stands within the body: {todo}")
    defects, notes = camera_faults(made.cameras, bodies, "calibrate again")
    hints = [f"warning: {line}" for line in (*defects, *notes)]
    if defects:
        hints.append(
            "warning: where the calibration is in another unit, --unit says how many metres one is (mm: 0.001)"
        )
    return Plan(**{**vars(made), "lines": (*made.lines, *hints)})


def write(
    made: Plan, out: str, workers: int = 0, overwrite: bool = False, progress: Progress | None = None
) -> list[str]:
    """Write the capture; lines say what was done. A call that was cut off goes on where it was.

    Raises FileExistsError where `out` is there and `overwrite` is not set, UserError where a picture is unreadable.
    """
    out = os.path.abspath(out)
    check_free(out, overwrite)
    aside = os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.partial")
    os.makedirs(aside, exist_ok=True)
    positions = {name: [made.source.position(n) for n in numbers] for name, numbers in made.splits.items()}
    report = write_footage(
        made.clips,
        made.lenses,
        positions,
        aside,
        undistort=made.options.undistort,
        fps=made.fps,
        workers=workers,
        progress=progress,
        **made.options.footage,
    )
    _write_numbers(made, aside)
    move_into_place(aside, out)
    return list(report.lines)


def _write_numbers(made: Plan, aside: str) -> None:
    """All but the pictures."""
    skeleton, turns = made.template.skeleton, made.template.tpose_rotvecs()
    tpose = transforms(turns[None], skeleton)[0]
    joints = np.einsum("jab,jb->ja", tpose[:, :3, :3], skeleton.rest) + tpose[:, :3, 3]
    write_rig(aside, made.rig, joints, turns)
    write_cameras(aside, made.cameras)
    for split, numbers in made.splits.items():
        starts = [i for i, n in enumerate(numbers) if i == 0 or n != numbers[i - 1] + 1]
        folder = os.path.join(aside, split)
        os.makedirs(folder, exist_ok=True)
        write_transforms(os.path.join(folder, "transform.zip"), [made.poses[n] for n in numbers], starts)
    shapes = made.template.shape_arrays()
    if shapes:
        np.savez(os.path.join(aside, SHAPES), **shapes)  # type: ignore[arg-type]
    write_values(aside, about(made), "na-ray convert")


def about(made: Plan) -> dict[str, Any]:
    """What `capture.json` says: no dates, and no paths of this machine."""
    skeleton, source = made.template.skeleton, made.source
    names = skeleton.names
    joints = [
        {"name": name, "parent": None if parent < 0 else names[parent]}
        for name, parent in zip(names, skeleton.parents, strict=True)
    ]
    cameras = [
        {"name": camera.name, "width": camera.width, "height": camera.height, "distortion": list(lens.distortion)}
        for camera, lens in zip(made.cameras, made.lenses, strict=True)
    ]
    files = [*source.calibration, made.options.body, *([made.options.uv] if made.options.uv else [])]
    return {
        "unit": "metre",
        "up": [float(v) for v in made.up],
        "fps": made.fps,
        "joints": joints,
        "cameras": cameras,
        "undistorted": made.options.undistort,
        "source": {
            "program": source.program,
            "cameras": "world to camera of the calibration, inverted; metres a unit: " + f"{made.options.unit:g}",
            "poses": "V = R(Rh) X(poses) + Th of the tracked body",
            "body": {"kind": made.template.kind, **made.template.extra},
            "frames": {split: _spans(numbers) for split, numbers in made.splits.items()},
            "files": [_hashed(path) for path in files if os.path.isfile(path)],
            "track": _hashed_folder(source.track),
            "footage": [
                {"camera": f.camera, "name": basename(f.path), "bytes": _bytes_of(f.path)} for f in source.footage
            ],
        },
    }


def _spans(numbers: Sequence[int]) -> str:
    """`0..40,50..60`: ends are exclusive."""
    cuts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    return ",".join(f"{numbers[a]}..{numbers[b - 1] + 1}" for a, b in zip(cuts[:-1], cuts[1:], strict=True))


def _hashed(path: str) -> dict[str, Any]:
    return {"name": basename(path), "bytes": size(path), "sha256": hashlib.sha256(read_bytes(path)).hexdigest()}


def _hashed_folder(folder: str) -> dict[str, Any]:
    """One hash of all the small files of a folder."""
    total, names = hashlib.sha256(), [n for n in listing(folder) if n.lower().endswith((".json", ".npy"))]
    for name in names:
        total.update(name.encode() + b"\0" + read_bytes(join(folder, name)))
    return {"name": basename(folder), "files": len(names), "sha256": total.hexdigest()}


def _bytes_of(path: str) -> int:
    """Of a video, or of all files of a folder."""
    if os.path.isdir(path):
        return sum(size(join(path, name)) for name in listing(path) if os.path.isfile(join(path, name)))
    return size(path)
