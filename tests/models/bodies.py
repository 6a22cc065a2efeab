"""Small bodies for the NeRF's tests."""

import numpy as np
import torch
import trimesh

from na_ray.body.body import Body, PosedBody
from na_ray.capture.rig import Pose, Rig


def rotation(axis: list[float]) -> np.ndarray:
    """Rodrigues' formula."""
    return trimesh.transformations.rotation_matrix(np.linalg.norm(axis), axis).astype(np.float32)


def blob(subdivisions: int = 1) -> Rig:
    """A stretched icosphere of about 0.3 m with three joints, smooth weights and one UV per vertex."""
    mesh = trimesh.creation.icosphere(subdivisions, 0.3)
    vertices = (mesh.vertices * [0.6, 1.0, 0.4]).astype(np.float32)
    logits = -((vertices[:, 1:2] - np.array([-0.3, 0.0, 0.3])) ** 2) / 0.05
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    uv = (vertices[:, :2] * [2.0, 1.2] + 0.5).astype(np.float32)
    faces = mesh.faces.astype(np.int64)
    tpose = np.stack([rotation([0.0, 0.0, 0.2 * (j + 1)]) for j in range(3)])
    return Rig(vertices, faces, uv, faces, weights.astype(np.float32), tpose)


def bent() -> Pose:
    """The blob bent, turned and moved 2 m in front of the origin."""
    joints_RT = np.stack([rotation([0.3 * j, 0.1, 0.2]) for j in range(1, 4)])
    joints_RT[:, :3, 3] = np.arange(9).reshape(3, 3) / 100
    translation = np.array([0.1, -0.1, 2.0], np.float32)
    joints = np.zeros((3, 3), np.float32) + translation
    return Pose(joints_RT, rotation([0.5, 0.2, -0.3])[:3, :3], translation, joints, None)


def posed(dtype: torch.dtype = torch.float64, subdivisions: int = 1) -> PosedBody:
    """The bent blob."""
    return Body.from_rig(blob(subdivisions), dtype).pose(bent())


def rays(count: int, dtype: torch.dtype = torch.float64, spread: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays from the origin towards the blob."""
    generator = torch.Generator().manual_seed(5)
    offset = (torch.rand(count, 2, generator=generator, dtype=torch.float64) * 2 - 1) * spread
    center = torch.tensor([0.05, -0.05, 1.0], dtype=torch.float64)
    directions = center + torch.nn.functional.pad(offset, (0, 1))
    return torch.zeros(count, 3, dtype=dtype), torch.nn.functional.normalize(directions, dim=1).to(dtype)
