"""The parity rig as a body, and naive float64 references of the geometry."""

from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from na_ray.body.body import Body, PosedBody
from na_ray.capture.rig import Pose, Rig

DATA = Path(__file__).parent / "data" / "parity"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f"{name}.npz") as file:
        return dict(file)


def parity_body(dtype: torch.dtype) -> Body:
    rig = arrays("body_rig")
    return Body.from_rig(
        Rig(
            vertices=rig["vertices"],
            faces=rig["faces"].astype(np.int64),
            uv=rig["vt"].astype(np.float32),
            uv_faces=rig["ft"].astype(np.int64),
            weights=rig["skin_weights"],
            tpose=np.ascontiguousarray(rig["tpose_joints_RT"].transpose(2, 0, 1)),
        ),
        dtype=dtype,
    )


def parity_pose(frame: int) -> Pose:
    rig = arrays("body_rig")
    joints_RT = np.ascontiguousarray(rig["joints_RT"][frame].transpose(2, 0, 1))
    return Pose(joints_RT, rig["rotation"][frame], rig["translation"][frame, 0], rig["joints"][frame])


def sphere(subdivisions: int = 3, radius: float = 0.5) -> Body:
    """A ball of one joint; its atlas is the cylinder's projection, cut open without care (never drawn)."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    uv = np.asarray(mesh.vertices)[:, :2] / (2 * radius) + 0.5
    return rigid(np.asarray(mesh.vertices), np.asarray(mesh.faces), uv)


def rigid(vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray | None = None) -> Body:
    """A body of one joint, with one texture coordinate a vertex."""
    vertices = torch.tensor(vertices, dtype=torch.float32)
    faces = torch.tensor(faces, dtype=torch.int64)
    uv = torch.zeros(len(vertices), 2) if uv is None else torch.tensor(uv, dtype=torch.float32)
    return Body(vertices, faces, uv, faces, torch.ones(len(vertices), 1), torch.eye(4)[None])


def at_rest(body: Body) -> PosedBody:
    eye = np.eye(4, dtype=np.float32)[None]
    return body.pose(Pose(eye, np.eye(3, dtype=np.float32), np.zeros(3, np.float32), np.zeros((1, 3), np.float32)))


def closest_on_triangle(p: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Region by region (Ericson, Real-Time Collision Detection, 5.1.5), one point and one triangle."""
    a, b, c = triangle
    ab, ac, ap = b - a, c - a, p - a
    d1, d2 = ab @ ap, ac @ ap
    if d1 <= 0 and d2 <= 0:
        return a
    d3, d4 = ab @ (p - b), ac @ (p - b)
    if d3 >= 0 and d4 <= d3:
        return b
    if d1 * d4 - d3 * d2 <= 0 and d1 >= 0 and d3 <= 0:
        return a + d1 / (d1 - d3) * ab
    d5, d6 = ab @ (p - c), ac @ (p - c)
    if d6 >= 0 and d5 <= d6:
        return c
    if d5 * d2 - d1 * d6 <= 0 and d2 >= 0 and d6 <= 0:
        return a + d2 / (d2 - d6) * ac
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    if va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        return b + (d4 - d3) / ((d4 - d3) + (d5 - d6)) * (c - b)
    return a + (vb * ab + vc * ac) / (va + vb + vc)


def closest_by_trial(points: Tensor, vertices: Tensor, faces: Tensor) -> np.ndarray:
    """The closest surface point of each point, trying every face."""
    triangles = vertices.double().numpy()[faces.numpy()]
    result = []
    for p in points.double().numpy():
        candidates = np.stack([closest_on_triangle(p, triangle) for triangle in triangles])
        result.append(candidates[np.square(candidates - p).sum(1).argmin()])
    return np.stack(result)


def near_surface(posed: PosedBody, count: int, spread: float, dtype: torch.dtype) -> Tensor:
    """Points around the posed surface, in normalized space; the same in every precision."""
    generator = torch.Generator().manual_seed(0)
    face = torch.randint(len(posed.body.faces), (count,), generator=generator)
    weights = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    weights /= weights.sum(1, keepdim=True)
    on = (posed.vertices.double()[posed.body.faces[face]] * weights[:, :, None]).sum(1)
    return (on + spread * torch.randn(count, 3, generator=generator, dtype=torch.float64)).float().to(dtype)
