"""Pictures that the server draws for a browser's camera: what no browser can, coarse at first and then finer."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation
from torch import Tensor

from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera
from na_ray.config import AvatarName
from na_ray.models.avatar import Picture
from na_ray.pictures import picture
from na_ray.viewer.figure import COMPUTE, DrawnPose, Figure, Kind

SIDES = (96, 192, 384, 768)
"""Longer sides of the pictures, one after the other, px."""
QUICK_SIDES = (384, 768)
"""The same of what is drawn at once."""
BAND = 4096
"""Pixels between two looks at whether the picture is still wanted."""

Shown = Sequence[tuple[Figure, Kind, DrawnPose]]
"""What is in the scene."""


def camera_of(
    wxyz: Float[np.ndarray, "4"], position: Float[np.ndarray, "3"], fov: float, height: int, width: int
) -> Camera:
    """A browser's camera: `fov` is its vertical angle, radians; a quaternion and place in the world, OpenCV axes."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_quat(np.asarray(wxyz)[[1, 2, 3, 0]]).as_matrix()
    T[:3, 3] = position
    focal = height / 2 / np.tan(fov / 2)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera("view", K, T, height, width)


def moved(camera: Camera, offset: Float[np.ndarray, "3"]) -> Camera:
    """The camera in the world of a figure that stands `offset` (m) away from it in the scene."""
    T = camera.T_world_camera.copy()
    T[:3, 3] -= offset
    return Camera(camera.name, camera.K, T, camera.height, camera.width)


def sharpen(shown: Shown, camera: Camera, view: str) -> Iterator[UInt8[np.ndarray, "h w 3"] | None]:
    """The scene in ever finer pictures. None comes in between, where the work may be left undone."""
    quick = all(drawn.in_browser for _, _, drawn in shown)
    longest = max(camera.height, camera.width)
    sides = [side for side in (QUICK_SIDES if quick else SIDES) if side < longest]
    for side in [*sides, *([longest] if longest < SIDES[-1] else [])]:
        small = camera.fitted(side)
        band = small.height if quick else max(1, BAND // small.width)
        parts = []
        for top in range(0, small.height, band):
            parts.append([_part(one, small, top, min(top + band, small.height)) for one in shown])
            yield None
        with COMPUTE:
            pictures = [_joined([row[i] for row in parts], moved(small, shown[i][0].offset)) for i in range(len(shown))]
            yield picture.to_uint8(_composed(shown, pictures, small, view))


@torch.no_grad()
def _part(one: tuple[Figure, Kind, DrawnPose], camera: Camera, top: int, bottom: int) -> Picture:
    """Rows top..bottom of a figure's picture."""
    figure, kind, drawn = one
    K = camera.K.copy()
    K[1, 2] -= top
    rows = moved(Camera(camera.name, K, camera.T_world_camera, bottom - top, camera.width), figure.offset)
    with COMPUTE:
        if kind == "mesh" or drawn.frame is None:
            return _mesh(drawn, rows)
        name: AvatarName = kind
        return figure.avatar(name).model.picture(drawn.frame, rows)


def _mesh(drawn: DrawnPose, camera: Camera) -> Picture:
    posed = drawn.posed
    surface = Surface(posed.body.faces, len(posed.vertices), posed.vertices.device)
    values = torch.from_numpy(np.array(drawn.texture)).to(posed.vertices) / 255
    colors, depth, coverage = textured_mesh(posed, values, camera, surface, supersample=2)
    depth = torch.where(coverage > 0, depth, torch.full_like(depth, 100.0))
    return Picture(colors, depth, 1 - coverage, camera)


def _joined(parts: Sequence[Picture], camera: Camera) -> Picture:
    """Bands below each other; normals need the rows of both sides."""
    depth = torch.cat([part.depth for part in parts])
    colors, passing = (torch.cat(list(of)) for of in zip(*((p.colors, p.transmittance) for p in parts), strict=True))
    return Picture(colors, depth, passing, camera)


def _composed(shown: Shown, pictures: Sequence[Picture], camera: Camera, view: str) -> Float[Tensor, "h w 3"]:
    """Figures behind each other on white, the nearer ones before the others."""
    away = [float(np.linalg.norm(_middle(one) - camera.center)) for one in shown]
    canvas = torch.ones_like(pictures[0].colors)
    near, far = _range(shown, camera)
    for i in np.argsort(away)[::-1]:
        seen, (figure, kind, _) = pictures[i], shown[i]
        passing = seen.transmittance[..., None]
        if view == "color":
            behind = 1.0 if kind == "mesh" else (figure.avatar(kind).model.background + 1) / 2
            canvas = seen.colors - passing * behind + passing * canvas
        elif view == "depth":
            canvas = torch.where(passing < 0.5, picture.depth_colors(seen.depth, seen.transmittance, near, far), canvas)
        else:
            canvas = torch.where(passing < 0.5, picture.normal_colors(seen.normals, seen.transmittance), canvas)
    return canvas


def _middle(one: tuple[Figure, Kind, DrawnPose]) -> np.ndarray:
    return one[2].posed.world_vertices.mean(0).cpu().numpy() + one[0].offset


def _range(shown: Shown, camera: Camera) -> tuple[float, float]:
    """Distances (m) of the nearest and the farthest vertex of all figures."""
    distances = [
        np.linalg.norm(drawn.posed.world_vertices.cpu().numpy() + figure.offset - camera.center, axis=1)
        for figure, _, drawn in shown
    ]
    return float(min(d.min() for d in distances)), float(max(d.max() for d in distances))
