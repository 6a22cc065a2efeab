import numpy as np
import pytest
import torch
from body_fixtures import arrays, parity_body, parity_pose

from na_ray.body.surface import Surface, shell_intervals
from na_ray.capture.camera import Camera

RADIUS = 0.06


def camera_rays(expected: dict, view: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    camera = Camera("0", expected[f"v{view}_intrinsics"][:3, :3], expected[f"v{view}_c2w"], 64, 48)
    origins, directions = camera.rays(expected[f"v{view}_uv"])
    return torch.tensor(origins, dtype=dtype), torch.tensor(directions, dtype=dtype)


@pytest.mark.parametrize("view", range(4))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 5e-4)])
def test_intervals_match_the_original(dtype: torch.dtype, tolerance: float, view: int) -> None:
    expected = arrays("body_rays")
    posed = parity_body(dtype).pose(parity_pose(0))
    near, far, hit = shell_intervals(
        posed.world_vertices, *camera_rays(expected, view, dtype), radius=RADIUS, parity=True
    )
    clean = ~expected[f"v{view}_graze"] if dtype == torch.float32 else slice(None)
    assert (hit.numpy() == expected[f"v{view}_hit"])[clean].all()
    assert np.abs(near.double().numpy() - expected[f"v{view}_near"])[clean].max() < tolerance
    assert np.abs(far.double().numpy() - expected[f"v{view}_far"])[clean].max() < tolerance


@pytest.mark.parametrize("view", range(4))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_mesh_hits_match_the_original(dtype: torch.dtype, tolerance: float, view: int) -> None:
    expected = arrays("body_rays")
    posed = parity_body(dtype).pose(parity_pose(0))
    surface = Surface(posed.body.faces, len(posed.vertices))
    surface.refit(posed.world_vertices)
    origins, directions = camera_rays(expected, view, dtype)
    face, depth, barycentrics = surface.intersect(origins, directions)
    hit = face >= 0
    assert (hit.numpy() == expected[f"v{view}_mesh_hit"]).all()
    assert np.abs(depth.double().numpy() - expected[f"v{view}_mesh_depth"]).max() < tolerance
    corners = posed.world_vertices[posed.body.faces[face[hit]]]
    points = (barycentrics[hit][:, :, None] * corners).sum(1)
    assert torch.allclose(points, (origins + depth[:, None] * directions)[hit], atol=tolerance)


def naive(vertices: np.ndarray, origin: np.ndarray, direction: np.ndarray, parity: bool) -> tuple[float, float] | None:
    entries, exits = [], []
    for vertex in vertices:
        p = (vertex - origin) @ direction
        h2 = RADIUS**2 - np.square(vertex - origin - p * direction).sum()
        if h2 <= 0 or (not parity and p + h2**0.5 <= 0):
            continue
        p = abs(p) if parity else p
        entries.append(p - h2**0.5)
        exits.append(p + h2**0.5)
    if not entries:
        return None
    return (min(entries) if parity else max(min(entries), 0.0)), max(exits)


@pytest.mark.parametrize("parity", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)])
def test_intervals_equal_a_loop_over_the_spheres(dtype: torch.dtype, tolerance: float, parity: bool) -> None:
    """Also from within the body and looking away from it."""
    generator = torch.Generator().manual_seed(0)
    vertices = parity_body(torch.float32).pose(parity_pose(0)).world_vertices
    start = vertices[torch.randint(len(vertices), (150,), generator=generator)]
    origins = start + 0.2 * torch.randn(150, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(150, 3, generator=generator).to(dtype), dim=1)
    near, far, hit = shell_intervals(vertices.to(dtype), origins.to(dtype), directions, RADIUS, parity)
    assert 30 < hit.sum() < 150
    for i in range(150):
        expected = naive(vertices.double().numpy(), origins[i].double().numpy(), directions[i].double().numpy(), parity)
        assert hit[i].item() == (expected is not None)
        assert (near[i].item(), far[i].item()) == pytest.approx(expected or (0, 0), abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_sphere(dtype: torch.dtype) -> None:
    center = torch.tensor([[0.0, 1.0, 5.0]], dtype=dtype)
    origins = torch.tensor([[0, 1, 0], [0, 1, 0], [0, 1, 9], [0, 1, 5.01]], dtype=dtype)
    directions = torch.tensor([[0, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=dtype)
    near, far, hit = shell_intervals(center, origins, directions, 0.5)
    assert hit.tolist() == [True, False, False, True]
    assert near.tolist() == pytest.approx([4.5, 0, 0, 0], abs=1e-6)
    assert far.tolist() == pytest.approx([5.5, 0, 0, 0.49], abs=1e-5)
    near, far, hit = shell_intervals(center, origins, directions, 0.5, parity=True)
    assert hit.tolist() == [True, False, True, True]
    assert near.tolist() == pytest.approx([4.5, 0, 3.5, -0.49], abs=1e-5)


def test_no_rays_give_no_intervals() -> None:
    near, far, hit = shell_intervals(torch.zeros(3, 3), torch.zeros(0, 3), torch.zeros(0, 3), RADIUS)
    assert near.shape == far.shape == hit.shape == (0,)


def test_nan_vertices_are_named() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        shell_intervals(torch.full((3, 3), torch.nan), torch.zeros(1, 3), torch.ones(1, 3), RADIUS)
