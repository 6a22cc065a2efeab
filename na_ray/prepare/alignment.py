"""Where the pictures say that the body should be: its outline on the silhouettes, its colors on the photographs.

Each gives points of the body (vertices), the pixels (x, y) that they should move by in a camera, and how well that is
known in the picture's two directions. Distances are pixels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8
from scipy.ndimage import distance_transform_edt, map_coordinates

from na_ray.body.body import PosedBody
from na_ray.body.unwrap import depth_of
from na_ray.body.views import BodyCut, near_body
from na_ray.capture.camera import Camera
from na_ray.prepare.registration import flow

BAND = 1.5
"""Vertices this near to the outline are on it."""
MARGIN = 24
"""Pixels around the body in which its silhouette is looked for."""
BEHIND = 0.03
"""m behind the depth buffer where a vertex is still the outline's."""


@dataclass(frozen=True, eq=False)
class CameraPulls:
    """What one camera asks of some vertices."""

    camera: Camera
    vertices: Int[np.ndarray, "n"]
    shift: Float64[np.ndarray, "n 2"]
    """How far each should move in the picture."""
    known: Float64[np.ndarray, "n 2 2"]
    """What of that is known, as a weight of each direction."""


@dataclass(frozen=True, eq=False)
class Outline:
    """The body's coverage in a camera's picture, and the person's silhouette there."""

    cut: BodyCut
    covered: Bool[np.ndarray, "h w"]
    mask: Bool[np.ndarray, "h w"]
    depth: Float64[np.ndarray, "h w"]
    outside: int
    """Pixels of the mask beyond the part that is looked at."""

    @property
    def iou(self) -> float:
        """Intersection over union of the body and the person."""
        union = (self.covered | self.mask).sum() + self.outside
        return float((self.covered & self.mask).sum() / max(union, 1))


def outline(posed: PosedBody, camera: Camera, mask: Bool[np.ndarray, "h w"]) -> Outline:
    """The two silhouettes near the body."""
    cut = near_body(posed, camera, MARGIN)
    depth = depth_of(posed, cut.camera).cpu().numpy()
    part = mask[cut.rows, cut.columns]
    return Outline(cut, np.isfinite(depth), part, depth.astype(np.float64), int(mask.sum() - part.sum()))


def outline_pulls(found: Outline, posed: PosedBody, reach: float) -> CameraPulls:
    """What moves the vertices on the body's outline onto the person's: the difference of both signed distances along
    the slope of the person's, which also cancels what pixels do to both. Those farther off than about `reach` count
    little: there the body has no such part, as with a skirt or hair."""
    pixels, depth = found.cut.camera.project(posed.world_vertices.double().cpu().numpy())
    if not found.mask.any() or not found.covered.any():
        return CameraPulls(found.cut.camera, np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2, 2)))
    person, body = signed_distance(found.mask), signed_distance(found.covered)
    own = _at(body, pixels)
    near = np.flatnonzero((np.abs(own) < BAND) & _inside(pixels, found.mask.shape))
    front = depth[near] <= _surface(found.depth, pixels[near]) + BEHIND
    chosen = near[front]
    gy, gx = np.gradient(person)
    slope = np.stack([_at(gx, pixels[chosen]), _at(gy, pixels[chosen])], axis=1)
    slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 0.5)
    apart = _at(person, pixels[chosen]) - own[chosen]
    weight = 1 / (1 + (apart / reach) ** 2) ** 2
    known = weight[:, None, None] * slope[:, :, None] * slope[:, None, :]
    return CameraPulls(found.cut.camera, chosen, -apart[:, None] * slope, known)


def color_pulls(
    found: Outline, posed: PosedBody, drawing: Float64[np.ndarray, "h w 3"], photograph: UInt8[np.ndarray, "h w 3"]
) -> CameraPulls:
    """What moves the pattern of the body, as drawn in the cut, onto the photograph (of the cut)."""
    shift, known = flow(drawing, photograph, found.covered & found.mask)
    pixels, depth = found.cut.camera.project(posed.world_vertices.double().cpu().numpy())
    visible = _inside(pixels, found.mask.shape) & (depth <= _surface(found.depth, pixels) + 0.01)
    chosen = np.flatnonzero(visible)[::2]
    moved = np.stack([_at(shift[..., i], pixels[chosen]) for i in (0, 1)], axis=1)
    weights = [[_at(known[..., i, j], pixels[chosen]) for j in (0, 1)] for i in (0, 1)]
    return CameraPulls(found.cut.camera, chosen, moved, np.array(weights).transpose(2, 0, 1))


def signed_distance(inside: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    """Pixels to the border of a region, negative within it."""
    return distance_transform_edt(~inside) - distance_transform_edt(inside)


def _at(values: Float64[np.ndarray, "h w"], pixels: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n"]:
    return map_coordinates(values, [pixels[:, 1], pixels[:, 0]], order=1, mode="nearest")


def _inside(pixels: Float64[np.ndarray, "n 2"], shape: tuple[int, ...]) -> Bool[np.ndarray, "n"]:
    x, y = pixels.T
    return (x > 1) & (x < shape[1] - 2) & (y > 1) & (y < shape[0] - 2)


def _surface(depth: Float64[np.ndarray, "h w"], pixels: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n"]:
    """The nearest depth at the four pixels around each place."""
    x, y = np.floor(pixels).astype(int).T
    x, y = x.clip(0, depth.shape[1] - 2), y.clip(0, depth.shape[0] - 2)
    return np.min([depth[y + b, x + a] for a in (0, 1) for b in (0, 1)], axis=0)
