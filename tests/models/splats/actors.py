"""Bodies, poses, maps and cameras for the tests of the splats."""

import numpy as np
import torch
from torch import Tensor

from na_ray.body.body import Body
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose, Rig
from na_ray.config.splats import SplatsConfig
from tests.make_capture import JOINTS, column, transform

SMALL = SplatsConfig(size=64, texels=32, widths=(8, 8), warmup_steps=2, global_batch=2)


def column_rig() -> Rig:
    """The tiny capture's column: a UV triangle of its own for each face, five joints."""
    vertices, faces = column()
    side = int(np.ceil(np.sqrt(len(faces))))
    corners = np.array([(0.1, 0.1), (0.9, 0.1), (0.1, 0.9)])
    uv = np.concatenate([(np.array([k % side, k // side]) + corners) / side for k in range(len(faces))])
    place = vertices[:, 1] / 1.6 * (JOINTS - 1)
    weights = np.clip(1 - np.abs(place[:, None] - np.arange(JOINTS)), 0, 1)
    uv_faces = np.arange(3 * len(faces)).reshape(-1, 3)
    rest = np.eye(4, dtype=np.float32)[None].repeat(JOINTS, 0)
    single = np.float32
    return Rig(vertices.astype(single), faces, uv.astype(single), uv_faces, weights.astype(single), rest)


def column_pose(frame: int) -> Pose:
    """Bent, turned and moved as a frame of the tiny capture."""
    return Pose.from_json(transform(frame), "here")


def at_rest(joints: int) -> Pose:
    eye = np.eye(4, dtype=np.float32)
    none = np.zeros(3, np.float32)
    return Pose(eye[None].repeat(joints, 0), eye[:3, :3], none, none[None].repeat(joints, 0), None)


def sheet(cells: int = 1, uv: np.ndarray | None = None) -> Rig:
    """One metre by one metre in z = 0, facing +z, of cells x cells squares: u runs along x, v along y."""
    line = np.linspace(0, 1, cells + 1)
    corners = np.stack(np.meshgrid(line, line, indexing="xy"), axis=2).reshape(-1, 2)
    a = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1)
    b, c, d = a + 1, a + cells + 2, a + cells + 1
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    vertices = np.pad(corners, ((0, 0), (0, 1))).astype(np.float32)
    flat = (corners if uv is None else uv).astype(np.float32)
    weights, rest = np.ones((len(vertices), 1), np.float32), np.eye(4, dtype=np.float32)[None]
    return Rig(vertices, faces, flat, faces, weights, rest)


def facing(size: int = 64, distance: float = 1.5, x: float = 0.5, y: float = 0.5) -> Camera:
    """In front of the sheet's middle, world y up; it sees 1.1 m."""
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, 3] = x, y, distance
    focal = size * distance / 1.1
    K = np.array([[focal, 0, size / 2 - 0.5], [0, focal, size / 2 - 0.5], [0, 0, 1]])
    return Camera("front", K, T, size, size)


def beside(size: int = 64, frame: int = 0) -> Camera:
    """A camera 3 m from the column."""
    T = np.diag([1.0, -1.0, -1.0, 1.0])
    T[:3, 3] = 0.02 * frame, 0.8, 3.0
    K = np.array([[1.5 * size, 0, size / 2 - 0.5], [0, 1.5 * size, size / 2 - 0.5], [0, 0, 1]])
    return Camera("beside", K, T, size, size)


def pattern(side: int) -> Tensor:
    """A smooth map (3, side, side) in [0, 1] without a symmetry, its channels unlike."""
    y, x = torch.meshgrid(*(torch.linspace(0, 1, side),) * 2, indexing="ij")
    red, green = 0.5 + 0.5 * torch.sin(7 * x + 2 * y), 0.5 + 0.5 * torch.cos(9 * y - x * x)
    return torch.stack([red, green, 0.9 * x * (1 - 0.7 * y)])


def body_of(rig: Rig) -> Body:
    return Body.from_rig(rig)
