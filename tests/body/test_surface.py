import copy
import pickle

import igl
import numpy as np
import pytest
import torch
from body_fixtures import arrays, at_rest, closest_by_trial, near_surface, parity_body, parity_pose, rigid, sphere

from na_ray.body.body import PosedBody
from na_ray.body.surface import Closest, Surface, project_to_faces

# float32 barycentrics of millimetre faces (group 1, and their neighbors in the other groups) have a looser bound.
F64 = dict(sq_dist=1e-10, bary=1e-6, uv=1e-7, closest_point=1e-8, skin_weights=1e-7, local_coords=1e-5)
F32 = dict(sq_dist=1e-6, bary=5e-3, uv=2e-5, closest_point=5e-6, skin_weights=2e-5, local_coords=5e-5)


def ask(posed: PosedBody, points: torch.Tensor, **options: float) -> Closest:
    """Closest points of the posed body, as the NeRF asks for them."""
    surface = Surface(posed.body.faces, len(posed.vertices), posed.vertices.device)
    surface.refit(posed.vertices)
    parity = bool(options.get("parity"))
    normals = None if parity else posed.pseudo_normals
    return project_to_faces(
        points, posed.vertices, posed.body.faces, surface.closest(points, **options), parity, normals
    )


@pytest.mark.parametrize(("dtype", "tolerances"), [(torch.float64, F64), (torch.float32, F32)])
def test_closest_points_match_the_original(dtype: torch.dtype, tolerances: dict[str, float]) -> None:
    expected = arrays("body_surface")
    posed = parity_body(dtype).pose(parity_pose(0))
    found = ask(posed, torch.tensor(expected["query"], dtype=dtype), parity=True)
    assert (expected["tie_faces"] == found.face.numpy()[:, None]).any(axis=1).all()
    uv = (found.barycentrics[:, :, None] * posed.body.face_uv[found.face]).sum(1)
    weights = (found.barycentrics[:, :, None] * posed.body.weights[posed.body.faces[found.face]]).sum(1)
    distance = found.sign * found.sq_distance.sqrt()
    values = {
        "sq_dist": found.sq_distance,
        "bary": found.barycentrics,
        "uv": uv,
        "closest_point": found.points,
        "skin_weights": weights[expected["skin_weight_rows"]],
        "local_coords": torch.cat([2 * uv - 1, distance[:, None]], dim=1),
    }
    clean = ~(expected["tie_changes_uv"] | expected["tie_changes_sign"])
    compared = {"bary": ~expected["is_tie"], "uv": clean, "local_coords": clean}
    for name, value in values.items():
        error = np.abs(value.double().numpy() - expected[name])
        assert error[compared.get(name, slice(None))].max() < tolerances[name], name
    well_shaped = np.quantile(np.abs(values["bary"].double().numpy() - expected["bary"])[~expected["is_tie"]], 0.99)
    assert well_shaped < 1e-4


def test_float64_takes_the_lowest_face_of_a_tie_as_the_fixtures_do() -> None:
    expected = arrays("body_surface")
    posed = parity_body(torch.float64).pose(parity_pose(0))
    for parity in (True, False):
        found = ask(posed, torch.tensor(expected["query"], dtype=torch.float64), parity=parity)
        assert (found.face.numpy() == expected["face"]).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_closest_points_equal_those_of_a_trial_of_every_face(dtype: torch.dtype, tolerance: float) -> None:
    posed = parity_body(dtype).pose(parity_pose(1))
    points = near_surface(posed, 40, 0.05, dtype)
    found = ask(posed, points)
    expected = closest_by_trial(points, posed.vertices, posed.body.faces)
    distance = np.linalg.norm(points.double().numpy() - expected, axis=1)
    assert np.abs(found.sq_distance.sqrt().double().numpy() - distance).max() < tolerance
    corners = posed.vertices[posed.body.faces[found.face]]
    assert torch.allclose((found.barycentrics[:, :, None] * corners).sum(1), found.points, atol=1e-6)
    assert (found.barycentrics >= 0).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_signed_distances_equal_libigls(dtype: torch.dtype, tolerance: float) -> None:
    posed = parity_body(dtype).pose(parity_pose(2))
    points = near_surface(posed, 2000, 0.03, dtype)
    found = ask(posed, points)
    signed = igl.signed_distance(
        points.double().numpy(),
        posed.vertices.double().numpy(),
        posed.body.faces.numpy(),
        sign_type=igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL,
    )[0]
    assert np.abs((found.sign * found.sq_distance.sqrt()).double().numpy() - signed).max() < tolerance


def test_distance_to_a_sphere_is_the_distance_to_its_center_less_its_radius() -> None:
    posed = at_rest(sphere(4))
    points = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    points = points * torch.linspace(0.3, 0.8, 200)[:, None]
    found = ask(posed, points)
    # A facet of the polyhedron lies up to 1 - cos(edge / 2) inside the ball.
    assert (found.sign * found.sq_distance.sqrt() - (points.norm(dim=1) - 0.5)).abs().max() < 1.5e-3


def test_distance_to_a_plane_is_its_height() -> None:
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    posed = at_rest(rigid(square, np.array([[0, 1, 2], [0, 2, 3]])))
    points = torch.tensor([[0.3, 0.1, 0.2], [0.5, 0.5, -0.7], [-0.2, 0.9, 1e-3], [2.0, 0.0, 0.0]])
    found = ask(posed, points)
    assert torch.allclose(found.sign * found.sq_distance.sqrt(), torch.tensor([0.2, -0.7, 1e-3, 1.0]))
    assert torch.allclose(found.points[:3, :2], points[:3, :2])


def test_the_sign_is_right_where_a_face_normal_is_wrong() -> None:
    """Beside a sharp spike the closest point is the tip, and some of its faces look away from the query."""
    spike = np.array([[0, 0, 1.0], [0.1, 0, 0], [-0.05, 0.09, 0], [-0.05, -0.09, 0]])
    posed = at_rest(rigid(spike, np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])))
    points = torch.tensor([[0.5, 0.02, 1.2], [-0.5, 0.1, 1.3], [0.02, -0.6, 1.25]])
    assert (ask(posed, points).sign == 1).all()
    naive = [project_to_faces(points, posed.vertices, posed.body.faces, torch.full((3,), f), True) for f in range(3)]
    assert any((one.sign < 0).any() for one in naive)


def test_points_beyond_the_maximal_distance_have_no_face() -> None:
    posed = at_rest(sphere())
    points = torch.tensor([[0.0, 0.0, 0.55], [0.0, 0.0, 0.65], [0.0, 0.0, 0.42]])
    found = ask(posed, points, max_distance=0.1)
    assert (found.face >= 0).tolist() == [True, False, True]
    assert torch.isinf(found.sq_distance[1])
    assert torch.equal(found.points[1], points[1])


def test_faces_without_area_do_no_harm() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.5, 0, 0], [2, 2, 0], [2, 2, 0]])
    posed = at_rest(rigid(vertices, np.array([[0, 3, 1], [0, 1, 2], [4, 5, 4]])))
    for dtype in (torch.float32, torch.float64):
        found = ask(posed.to(dtype=dtype), torch.tensor([[0.2, 0.2, 0.3], [0.5, -0.2, 0.0]], dtype=dtype))
        assert torch.allclose(found.sq_distance, torch.tensor([0.09, 0.04], dtype=dtype), atol=1e-6)


def test_no_points_give_no_answers_and_no_error() -> None:
    posed = at_rest(sphere(1))
    assert ask(posed, torch.zeros(0, 3)).face.shape == (0,)


def test_a_surface_follows_its_pose_and_forgets_nothing_when_copied() -> None:
    body = sphere()
    surface = Surface(body.faces, len(body.vertices))
    surface.refit(body.vertices)
    surface.refit(body.vertices + torch.tensor([10.0, 0, 0]))
    ray = torch.tensor([[10.0, 0, 5]]), torch.tensor([[0.0, 0, -1]])
    assert torch.allclose(surface.intersect(*ray)[1], torch.tensor([4.5]), atol=2e-3)
    for other in (copy.deepcopy(surface), pickle.loads(pickle.dumps(surface))):
        other.refit(body.vertices)
        assert other.intersect(*ray)[0].item() == -1


def test_gradients_stop_at_the_geometry() -> None:
    posed = at_rest(sphere())
    points = torch.tensor([[0.0, 0.1, 0.6]], requires_grad=True)
    assert not ask(posed, points).sq_distance.requires_grad


def test_autocast_leaves_distances_exact() -> None:
    posed = parity_body(torch.float32).pose(parity_pose(0))
    points = near_surface(posed, 100, 0.03, torch.float32)
    expected = ask(posed, points)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ask(posed, points)
    assert torch.equal(found.points, expected.points)
    assert torch.equal(found.sign, expected.sign)


def test_mistakes_are_named() -> None:
    body = sphere(1)
    surface = Surface(body.faces, len(body.vertices))
    with pytest.raises(ValueError, match="call refit"):
        surface.closest(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        surface.refit(torch.full_like(body.vertices, torch.nan))
    with pytest.raises(ValueError, match="3 vertices given, but this surface was made for 42"):
        surface.refit(torch.zeros(3, 3))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_gives_what_the_cpu_gives() -> None:
    posed = parity_body(torch.float32).pose(parity_pose(0))
    points = near_surface(posed, 5000, 0.03, torch.float32)
    expected = ask(posed, points)
    there = posed.to(device="cuda")
    found = ask(there, points.cuda())
    assert torch.allclose(found.sq_distance.cpu().sqrt(), expected.sq_distance.sqrt(), atol=1e-6)
    assert (found.sign.cpu() == expected.sign).float().mean() > 0.999


def test_the_nearest_face_does_not_depend_on_earlier_poses() -> None:
    """Points beyond a convex edge are as near to two faces; a resumed training must choose as the unbroken one did."""
    body = parity_body(torch.float32)
    generator = torch.Generator().manual_seed(0)
    points = body.vertices.repeat(8, 1) * 1.05 + 0.001 * torch.randn(8 * len(body.vertices), 3, generator=generator)
    fresh, used = (Surface(body.faces, len(body.vertices), rest=body.vertices) for _ in range(2))
    for i in range(5):
        used.refit(body.vertices * torch.tensor([1.0 + 0.3 * i, 1.0, 1.0 - 0.1 * i]))
    fresh.refit(body.vertices)
    used.refit(body.vertices)
    assert torch.equal(fresh.closest(points), used.closest(points))
