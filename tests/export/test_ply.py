"""Splats as .ply: read back by another reader, they have our covariances and the colors that every direction sees."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from na_ray.export.ply import NAMES, write_ply
from na_ray.models.gaussians import Gaussians


def gaussians(n: int, seed: int = 0) -> Gaussians:
    """Of every orientation, from flakes to needles."""
    rng = np.random.default_rng(seed)
    axes = Rotation.random(n, random_state=seed).as_matrix()
    factors = axes * np.exp(rng.uniform(-9, -3, (n, 1, 3))) @ Rotation.random(n, random_state=seed + 1).as_matrix()
    arrays = (
        rng.normal(size=(n, 3)),
        factors,
        rng.uniform(0.0, 1.0, n),
        rng.uniform(-0.2, 1.2, (n, 3)),
        Rotation.random(n, random_state=seed + 2).as_matrix(),
        rng.normal(size=(9, n)),
    )
    return Gaussians(*(torch.tensor(a, dtype=torch.float32) for a in arrays))


def read(path: Path) -> dict[str, np.ndarray]:
    head, _, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode().split("\n")
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    names = [line.split()[2] for line in lines if line.startswith("property float ")]
    table = np.frombuffer(body, np.dtype([(name, "<f4") for name in names]))
    assert f"element vertex {len(table)}" in lines
    return {name: table[name].astype(np.float64) for name in names}


def test_another_reader_finds_the_same_gaussians(tmp_path: Path) -> None:
    given, origin = gaussians(200), np.array([100.0, -2.0, 3.0])
    assert write_ply(tmp_path / "a.ply", given, origin) == int((given.opacities >= 1 / 255).sum())
    found = read(tmp_path / "a.ply")
    assert tuple(found) == NAMES
    kept = (given.opacities >= 1 / 255).numpy()
    means = given.means.double().numpy()[kept]
    np.testing.assert_allclose(np.stack([found[k] for k in "xyz"], 1), means + origin, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-found["opacity"])), given.opacities.numpy()[kept], atol=1e-5)
    quaternions = np.stack([found[f"rot_{i}"] for i in (1, 2, 3, 0)], 1)
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1, atol=1e-6)
    scales = np.exp(np.stack([found[f"scale_{i}"] for i in range(3)], 1))
    axes = Rotation.from_quat(quaternions).as_matrix()
    factors = given.factors.double().numpy()[kept]
    for i in range(kept.sum()):
        expected = factors[i] @ factors[i].T
        np.testing.assert_allclose(axes[i] @ np.diag(scales[i] ** 2) @ axes[i].T, expected, atol=1e-5 * expected.max())


def test_colors_are_those_of_every_direction(tmp_path: Path) -> None:
    """By the formula of the viewers: harmonics of degree 1 in x, y, z of the direction from the camera."""
    given = gaussians(20, seed=5)
    write_ply(tmp_path / "a.ply", given, np.zeros(3))
    found = read(tmp_path / "a.ply")
    kept = np.flatnonzero(given.opacities.numpy() >= 1 / 255)
    for d in Rotation.random(7, random_state=1).as_matrix()[:, 0]:
        for row, i in enumerate(kept):
            local = given.frames[i].double().numpy().T @ d
            change = given.changes[:, i].double().numpy().reshape(3, 3)
            expected = given.colors[i].double().numpy() + 0.1 * change @ local
            for c in range(3):
                rest = [found[f"f_rest_{3 * c + k}"][row] for k in range(3)]
                value = 0.5 + 0.28209479177387814 * found[f"f_dc_{c}"][row]
                value += 0.4886025119029199 * (-d[1] * rest[0] + d[2] * rest[1] - d[0] * rest[2])
                assert value == pytest.approx(expected[c], abs=1e-5)
