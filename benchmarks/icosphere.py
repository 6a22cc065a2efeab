"""A sphere without a mesh library, for benchmarks and for the checks of `make test-cuda`."""

import numpy as np

from na_ray.capture.rig import Pose, Rig


def icosphere(subdivisions: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """(vertices (v, 3) in m, faces (f, 3)) of an icosahedron whose faces are cut in four, again and again."""
    golden = (1 + 5**0.5) / 2
    base = [(s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    corners = np.array([np.roll((0, *pair), k) for k in range(3) for pair in base], float)
    near = np.linalg.norm(corners[:, None] - corners, axis=2) < 2.1
    triples = [(a, b, c) for a in range(12) for b in range(a) for c in range(b)]
    faces = np.array([t for t in triples if near[t[0], t[1]] and near[t[1], t[2]] and near[t[0], t[2]]])
    turned = np.linalg.det(corners[faces]) < 0
    faces[turned] = faces[turned][:, ::-1]
    for _ in range(subdivisions):
        edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        unique, which = np.unique(edges, axis=0, return_inverse=True)
        ab, bc, ca = (which.reshape(-1, 3) + len(corners)).T
        a, b, c = faces.T
        corners = np.concatenate([corners, corners[unique].mean(axis=1)])
        parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = np.concatenate([np.stack(part, axis=1) for part in parts])
        corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    return radius * corners / np.linalg.norm(corners, axis=1, keepdims=True), faces


def sphere(subdivisions: int = 4) -> tuple[Rig, Pose]:
    """An icosphere of 0.5 m with one joint and a cylindrical atlas, and its rest pose 3 m in front of the origin."""
    corners, faces = icosphere(subdivisions, 0.5)
    vertices = corners.astype(np.float32)
    angle = np.arctan2(vertices[:, 1], vertices[:, 0]) / (2 * np.pi) + 0.5
    uv = np.stack([angle, vertices[:, 2] + 0.5], axis=1).astype(np.float32)
    identity, faces = np.eye(4, dtype=np.float32)[None], faces.astype(np.int64)
    rig = Rig(vertices, faces, uv, faces, np.ones((len(vertices), 1), np.float32), identity)
    translation = np.array([0, 0, 3], np.float32)
    return rig, Pose(identity, np.eye(3, dtype=np.float32), translation, translation[None], None)
