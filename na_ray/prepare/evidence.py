"""What a verdict on a conversion is drawn from: some frames of all cameras, small, and where calibration and track put
the body in them.

Symbols: f frames, c cameras, n points on the mesh, R `rotation` as poses store it: world = x @ R + t.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

from na_ray.capture.about import read_about
from na_ray.capture.camera import Camera
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.keypoints import Keypoints
from na_ray.capture.masks import Masks
from na_ray.capture.pixels import posed_vertices
from na_ray.capture.rig import Pose, Rig
from na_ray.capture.skeleton import named_joints
from na_ray.config.values import UserError

SIDE = 192
"""Longer side (px) of the pictures that are looked at."""
FRAMES, CAMERAS = 3, 16
"""So many are looked at, evenly spread."""
POINTS = 30_000
"""About so many points of the mesh draw a silhouette."""
ENOUGH = int(0.7 * POINTS)
COARSE_SIDE, COARSE_STEP = 96, 4
"""Where much is tried, pictures have this longer side (px), and of the points one in so many is taken."""
UNIFORM = 24
"""Levels by which the border of a picture may vary, where its background tells who is in front of it."""

SurfacePoints = Float64[np.ndarray, "_ 3"]
PersonOutline = Bool[np.ndarray, "_ _"]


@dataclass(frozen=True, eq=False)
class BodyPlacement:
    """Where the un-rotated body of one frame goes: world = scale (x @ rotation) + translation."""

    points: SurfacePoints
    """On its surface."""
    normals: SurfacePoints
    """Outward, unit length."""
    root: Float64[np.ndarray, "3"]
    """The root joint, un-rotated like the points."""
    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]
    scale: float = 1.0

    @property
    def world(self) -> SurfacePoints:
        """The points in the world, m."""
        return self.scale * (self.points @ self.rotation) + self.translation


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Cameras and bodies, as a capture says or as somebody may have meant."""

    cameras: tuple[Camera, ...]
    bodies: tuple[BodyPlacement, ...]
    """One a frame."""

    def with_cameras(self, cameras: Sequence[Camera]) -> "Arrangement":
        """The same bodies before other cameras."""
        return replace(self, cameras=tuple(cameras))


@dataclass(frozen=True, eq=False)
class FoundJoints:
    """Joints of one frame in the world, m: where they were found in the pictures, and where the track has them."""

    found: SurfacePoints
    tracked: SurfacePoints


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was filmed, and what the capture says of it."""

    said: Arrangement
    images: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]]
    """By frame and camera."""
    outlines: Sequence[Sequence[PersonOutline]] | None
    """Where the person is; None where nothing tells."""
    told_by: str
    """What tells: `masks/`, `the pictures' alpha`, `the background`; empty where nothing does."""
    height: float
    """Of the mesh in its canonical pose, along its longest axis, m."""
    picture: tuple[int, int]
    """(height, width) of the first camera's pictures, before they were made small."""
    joints: tuple[FoundJoints, ...] = ()
    """By frame; empty where the capture has no keypoints."""


def coarse(evidence: Evidence, frames: Sequence[int], chosen: Sequence[int]) -> Evidence:
    """Some frames and cameras (positions), with smaller pictures and fewer points: to try many things fast."""
    full = [evidence.said.cameras[c] for c in chosen]
    cameras = tuple(camera.fitted(COARSE_SIDE) for camera in full)
    bodies = [evidence.said.bodies[f] for f in frames]
    bodies = [replace(b, points=b.points[::COARSE_STEP], normals=b.normals[::COARSE_STEP]) for b in bodies]
    images = [
        [_small(evidence.images[f][c], camera) for c, camera in zip(chosen, cameras, strict=True)] for f in frames
    ]
    outlines = evidence.outlines and [
        [_small_outline(evidence.outlines[f][c], camera) for c, camera in zip(chosen, cameras, strict=True)]
        for f in frames
    ]
    return replace(evidence, said=Arrangement(cameras, tuple(bodies)), images=images, outlines=outlines)


def gather(capture: Capture, split: Split) -> Evidence:
    """Look at a split. Raises UserError or FileNotFoundError where it cannot be read."""
    frames, chosen = spread(split.num_frames, FRAMES), spread(len(split.cameras), CAMERAS)
    rig = split.rig
    cameras = tuple(split.cameras[c].fitted(SIDE) for c in chosen)
    bodies = tuple(place(rig, split.pose(position)) for position in frames)
    pictures = [[split.image(position, c) for c in chosen] for position in frames]
    outlines, told_by = _outlines(capture, split, frames, chosen, pictures)
    small = [[_small(image[..., :3], camera) for image, camera in zip(row, cameras, strict=True)] for row in pictures]
    if outlines is not None:
        outlines = [[_small_outline(o, camera) for o, camera in zip(row, cameras, strict=True)] for row in outlines]
    _check_sound(split.files.folder, Arrangement(cameras, bodies))
    first = split.cameras[chosen[0]]
    height = float(np.ptp(rig.vertices, axis=0).max())
    picture, joints = (first.height, first.width), _joints(capture, split, frames)
    return Evidence(Arrangement(cameras, bodies), small, outlines, told_by, height, picture, joints)


def _joints(capture: Capture, split: Split, frames: Sequence[int]) -> tuple[FoundJoints, ...]:
    keypoints = Keypoints.find(capture.path)
    named = named_joints(read_about(capture.path).get("joints"), capture.path)
    points = keypoints.splits.get(split.name) if keypoints is not None else None
    if keypoints is None or named is None or points is None or max(frames) >= len(points):
        return ()
    pairs = [(k, named[0].index(name)) for k, name in enumerate(keypoints.names) if name in named[0]]
    joints = []
    for frame in frames:
        sure = [(k, j) for k, j in pairs if np.isfinite(points[frame, k]).all()]
        tracked = split.pose(frame).joints.astype(np.float64)
        joints.append(FoundJoints(points[frame, [k for k, _ in sure]], tracked[[j for _, j in sure]]))
    return tuple(joints)


def _check_sound(where: str, said: Arrangement) -> None:
    numbers = [body.points for body in said.bodies] + [camera.T_world_camera for camera in said.cameras]
    turns = [camera.T_world_camera[:3, :3] for camera in said.cameras]
    if not all(np.isfinite(part).all() for part in numbers) or min(abs(np.linalg.det(turn)) for turn in turns) < 1e-3:
        raise UserError(f"{where}: cameras or poses are no rigid motions of finite numbers: nothing to judge")


def spread(count: int, wanted: int) -> list[int]:
    """Up to `wanted` positions among `count`, evenly spread. Raises UserError where there are none."""
    if not count:
        raise UserError("no frames or no cameras: nothing to judge")
    inner = (np.arange(min(wanted, count)) + 0.5) * count / min(wanted, count)
    return [int(i) for i in inner]


def place(rig: Rig, pose: Pose) -> BodyPlacement:
    """The body of a frame, as points."""
    still = replace(pose, rotation=np.eye(3, dtype=np.float32), translation=np.zeros(3, np.float32))
    points, normals = surface_points(posed_vertices(rig, still).astype(np.float64), rig.faces)
    R, t = pose.rotation.astype(np.float64), pose.translation.astype(np.float64)
    return BodyPlacement(points, normals, (pose.joints[0].astype(np.float64) - t) @ R.T, R, t)


def surface_points(vertices: SurfacePoints, faces: np.ndarray) -> tuple[SurfacePoints, SurfacePoints]:
    """(points, unit normals): the faces' centres and, of few large faces, more points within each, in rows."""
    rows = next(n for n in itertools.count(1) if n * (n + 1) / 2 * len(faces) >= ENOUGH)
    steps = [(i, j) for i in range(rows) for j in range(rows - i)]
    inner = np.array([(i + 1 / 3, j + 1 / 3, rows - i - j - 2 / 3) for i, j in steps]) / rows
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
    points = np.einsum("sk,fkx->fsx", inner, corners).reshape(-1, 3)
    return points, np.repeat(normals, len(inner), axis=0)


def _outlines(
    capture: Capture,
    split: Split,
    frames: Sequence[int],
    chosen: Sequence[int],
    pictures: Sequence[Sequence[np.ndarray]],
) -> tuple[list[list[PersonOutline]] | None, str]:
    """(where the person is, what tells it)."""
    masks = Masks.of(capture, split)
    if masks is not None:
        return [[masks.mask(position, c) for c in chosen] for position in frames], "masks/"
    if all(image.shape[2] == 4 for row in pictures for image in row):
        return [[image[..., 3] > 127 for image in row] for row in pictures], "the pictures' alpha"
    found = [[before_background(image) for image in row] for row in pictures]
    if all(outline is not None for row in found for outline in row):
        return [[o for o in row if o is not None] for row in found], "the background"
    return None, ""


def before_background(image: UInt8[np.ndarray, "h w c"]) -> PersonOutline | None:
    """Where a picture differs from the one color of its border; None where its border has no such color."""
    shown = image[..., :3].astype(np.int16)
    border = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    color = np.median(border, axis=0)
    # A person may leave the picture over one of its edges.
    if (np.abs(border - color).max(axis=1) > UNIFORM).mean() > 0.2:
        return None
    return np.abs(shown - color).max(axis=2) > UNIFORM


def _small(image: UInt8[np.ndarray, "h w 3"], camera: Camera) -> UInt8[np.ndarray, "i j 3"]:
    shown = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(shown.resize((camera.width, camera.height), Image.Resampling.BOX))


def _small_outline(outline: PersonOutline, camera: Camera) -> PersonOutline:
    shown = Image.fromarray(outline.astype(np.uint8) * 255)
    return np.asarray(shown.resize((camera.width, camera.height), Image.Resampling.BOX)) > 127
