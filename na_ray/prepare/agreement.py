"""How well bodies and cameras agree with what was filmed: overlap of silhouettes, colors between cameras, what is seen.

Symbols: c cameras, n points on the mesh.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy import ndimage

from na_ray.capture.camera import Camera
from na_ray.prepare.evidence import ENOUGH, SIDE, Arrangement, BodyPlacement, Evidence, PersonOutline, SurfacePoints

FACING = 0.3
"""Cosine of the angle to a camera from which on a point's color is compared."""
FEWEST = 50
"""SurfacePoints that must be seen by two cameras before their colors say anything."""
DEEP = 0.03
"""Of the distance: what lies so far behind the nearest point of a pixel is hidden."""


def silhouette(points: SurfacePoints, camera: Camera) -> PersonOutline:
    """The pixels that many points on a closed surface cover, holes of a pixel filled.

    A pixel that a point touches is not half covered: in small pictures, where that counts, finer ones are drawn and
    averaged, where there are points enough.
    """
    fine = max(1, SIDE // max(camera.height, camera.width)) if len(points) >= ENOUGH else 1
    large = camera.resized(camera.height * fine, camera.width * fine) if fine > 1 else camera
    pixels, depth = large.project(points)
    drawn = np.zeros((large.height, large.width), bool)
    drawn.reshape(-1)[_places(pixels, depth, large)[0]] = True
    drawn |= ndimage.binary_closing(np.pad(drawn, 1))[1:-1, 1:-1]
    return drawn.reshape(camera.height, fine, camera.width, fine).mean(axis=(1, 3)) >= 0.5


def _places(
    pixels: Float64[np.ndarray, "n 2"], depth: Float64[np.ndarray, "n"], camera: Camera
) -> tuple[Int64[np.ndarray, "m"], Bool[np.ndarray, "n"]]:
    """(row-major pixels of the points that are in the picture, which these are)."""
    high = np.array([camera.width - 0.5, camera.height - 0.5])
    inside = (depth > 0) & (pixels > -0.5).all(axis=1) & (pixels < high).all(axis=1)
    columns, rows = np.floor(pixels[inside] + 0.5).astype(np.int64).T
    return rows * camera.width + columns, inside


def iou(one: PersonOutline, other: PersonOutline) -> float:
    """Area of the intersection over that of the union; 1 for two empty ones."""
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 1.0


def ious(evidence: Evidence, meant: Arrangement) -> Float64[np.ndarray, "f c"]:
    """Overlap of the bodies' silhouettes and the filmed ones, by frame and camera."""
    assert evidence.outlines is not None
    rows = zip(meant.bodies, evidence.outlines, strict=True)
    return np.array(
        [
            [iou(silhouette(world, camera), o) for camera, o in zip(meant.cameras, row, strict=True)]
            for world, row in ((body.world, row) for body, row in rows)
        ]
    )


def in_view(meant: Arrangement) -> Float64[np.ndarray, "f c"]:
    """Share of the points that lie in each picture, before the camera."""
    return np.array(
        [
            [float(_places(*camera.project(world), camera)[1].mean()) for camera in meant.cameras]
            for world in (body.world for body in meant.bodies)
        ]
    )


def spans(meant: Arrangement) -> Float64[np.ndarray, "f c"]:
    """Longer side of the box round the points before each camera, px; 0 where there are none."""
    return np.array([[_span(body.world, camera) for camera in meant.cameras] for body in meant.bodies])


def _span(points: SurfacePoints, camera: Camera) -> float:
    pixels, depth = camera.project(points)
    return float(np.ptp(pixels[depth > 0], axis=0).max()) if (depth > 0).any() else 0.0


def drifts(evidence: Evidence, meant: Arrangement) -> Iterator[float]:
    """Distance (px) of the middles of the two silhouettes, of each picture that has both."""
    assert evidence.outlines is not None
    for body, row in zip(meant.bodies, evidence.outlines, strict=True):
        for camera, outline in zip(meant.cameras, row, strict=True):
            drawn = silhouette(body.world, camera)
            if drawn.any() and outline.any():
                middles = [np.argwhere(part).mean(axis=0) for part in (drawn, outline)]
                yield float(np.linalg.norm(middles[0] - middles[1]))


@dataclass(frozen=True)
class ColorSpread:
    """How the colors of the same points differ from camera to camera."""

    levels: float
    """Standard deviation between cameras, of 255; nan where nothing is seen twice."""
    explained: float
    """Share of the colors' variance that the points explain, whoever looks: 1 where all agree, 0 for chance."""


NOTHING = ColorSpread(float("nan"), 0.0)


def color_spread(evidence: Evidence, meant: Arrangement) -> ColorSpread:
    """Compare the cameras' colors of the points that at least two of them see. 3000 points a frame or so."""
    within, between, count = 0.0, [], 0
    for body, images in zip(meant.bodies, evidence.images, strict=True):
        colors, seen = _colors(body, meant.cameras, images)
        views = seen.sum(axis=0)
        shared = views >= 2
        if not shared.any():
            continue
        colors, seen, views = colors[:, shared], seen[:, shared], views[shared]
        mean = (colors * seen[..., None]).sum(axis=0) / views[:, None]
        squares = ((colors - mean) ** 2 * seen[..., None]).sum(axis=(0, 2)) / 3 / (views - 1)
        within += float(squares.sum())
        count += int(shared.sum())
        between.append(colors[seen])
    if count < FEWEST:
        return NOTHING
    total = float(np.concatenate(between).var(axis=0).mean())
    mean_square = within / count
    return ColorSpread(float(np.sqrt(mean_square)), max(0.0, 1 - mean_square / total) if total > 1 else 0.0)


def _colors(
    body: BodyPlacement, cameras: Sequence[Camera], images: Sequence[np.ndarray]
) -> tuple[Float[np.ndarray, "c n 3"], Bool[np.ndarray, "c n"]]:
    """(colors of some of the points in each picture, whether the camera sees them)."""
    world, normals = body.world, body.normals @ body.rotation
    few = slice(None, None, max(1, len(world) // 3000))
    colors = np.zeros((len(cameras), len(world[few]), 3))
    seen = np.zeros(colors.shape[:2], bool)
    for c, (camera, image) in enumerate(zip(cameras, images, strict=True)):
        pixels, depth = camera.project(world)
        places, inside = _places(pixels, depth, camera)
        nearest = np.full(camera.height * camera.width, np.inf)
        np.minimum.at(nearest, places, depth[inside])
        nearest = ndimage.minimum_filter(nearest.reshape(camera.height, camera.width), 3).reshape(-1)
        away = camera.center - world
        facing = (away * normals).sum(axis=1) > FACING * np.linalg.norm(away, axis=1)
        visible = inside & facing
        visible[inside] &= depth[inside] < (1 + DEEP) * nearest[places]
        index = np.zeros(len(world), np.int64)
        index[inside] = places
        colors[c] = image.reshape(-1, 3)[index[few]]
        seen[c] = visible[few]
    return colors, seen
