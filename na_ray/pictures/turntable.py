"""A strip of views round the textured body: whether texture maps and mesh belong together shows at a glance."""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import UInt8

from na_ray.body.body import Body
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.about import read_about
from na_ray.capture.dataset import Capture, Split
from na_ray.capture.framing import Extent, holding
from na_ray.capture.image import resized
from na_ray.capture.trajectory import up_of
from na_ray.config.values import UserError
from na_ray.pictures import picture

VIEWS = 8
MAPS = 8
"""So many texture maps, evenly spread, are averaged."""
HEIGHT = 320
"""Of a view, px."""
MAP = 1024
"""Larger maps are shrunk to this side, texels."""


def turntable(capture: Capture) -> UInt8[np.ndarray, "h w 3"]:
    """The body in the pose of a middle frame with the mean of its texture maps, from `VIEWS` sides."""
    split = textured_split(capture)
    if split is None:
        raise UserError(f"{capture.path}: no split has texture maps: na-ray prepare {capture.path} makes them")
    body = Body.from_rig(split.rig)
    surface, middle = Surface(body.faces, len(body.vertices)), split.num_frames // 2
    pose = split.pose(middle)
    posed, texture = body.pose(pose), torch.from_numpy(_mean_texture(split))
    about = read_about(capture.path).get("up")
    up = np.asarray(about if about else up_of(split.cameras), np.float64)
    extent, size = Extent.of([pose], up / np.linalg.norm(up), None), (HEIGHT, HEIGHT * 5 // 8)
    views = []
    for azimuth in np.arange(VIEWS) * 360 / VIEWS:
        camera = holding(extent, size, azimuth=float(azimuth), rise=8)
        color, _, _ = textured_mesh(posed, texture, camera, surface)
        views.append(picture.labeled(picture.to_uint8(color), f"{split.name} {split.frames[middle]} {azimuth:.0f}"))
    return picture.sheet(views, VIEWS)


def textured_split(capture: Capture) -> Split | None:
    """A split with texture maps, `training` if it has some."""
    names = sorted(capture.splits, key=lambda name: (name != "training", name))
    splits = [split for name in names if (split := capture.split(name)).has_textures]
    return splits[0] if splits else None


def _mean_texture(split: Split) -> np.ndarray:
    """(h, w, 3) float32 in [0, 1]."""
    cuts = np.linspace(0, split.num_frames, min(MAPS, split.num_frames) + 1).astype(int)
    maps = [split.texture((a + b) // 2) for a, b in pairwise(cuts.tolist())]
    side = min(MAP, *maps[0].shape[:2])
    shrunk = [m if m.shape[0] <= MAP else resized(m, (side, side)) for m in maps]
    return np.mean(shrunk, axis=0).astype(np.float32) / 255
