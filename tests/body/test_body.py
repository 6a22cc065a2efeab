import re
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from body_fixtures import arrays, at_rest, parity_body, parity_pose, rigid, sphere

import na_ray.body.body
from na_ray.body.body import edge_neighbors, skin, vertex_normals

TOLERANCES = {
    torch.float64: dict(
        vertices_normalized=1e-9, vertices_world=1e-9, joints_normalized=1e-9, vertex_normals_world=1e-9
    ),
    torch.float32: dict(
        vertices_normalized=1e-6, vertices_world=1e-6, joints_normalized=1e-6, vertex_normals_world=1e-4
    ),
}


@pytest.mark.parametrize("frame", range(3))
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_skinning_matches_the_original(dtype: torch.dtype, frame: int) -> None:
    expected = arrays("body_skinning")
    posed = parity_body(dtype).pose(parity_pose(frame))
    found = {
        "vertices_normalized": posed.vertices[::3],
        "vertices_world": posed.world_vertices[::3],
        "joints_normalized": posed.to_normalized(posed.joints),
        "vertex_normals_world": posed.vertex_normals()[::3],
    }
    for name, value in found.items():
        error = np.abs(value.double().numpy() - expected[f"f{frame}_{name}"]).max()
        assert error < TOLERANCES[dtype][name], name


def test_skinning_equals_a_loop_over_vertices_and_joints() -> None:
    body, pose = parity_body(torch.float64), parity_pose(1)
    posed = skin(body.vertices, body.weights, torch.tensor(pose.joints_RT, dtype=torch.float64))
    for v in (0, 100, 561):
        x = np.append(body.vertices[v].numpy(), 1)
        blend = sum(body.weights[v, j].item() * pose.joints_RT[j].astype(float) for j in range(24))
        assert np.allclose(posed[v].numpy(), (blend @ x)[:3], atol=1e-12)


def test_world_and_normalized_space_are_each_others_inverse() -> None:
    posed = parity_body(torch.float32).pose(parity_pose(0))
    assert torch.allclose(posed.to_normalized(posed.to_world(posed.vertices)), posed.vertices, atol=1e-6)


def test_autocast_leaves_positions_exact() -> None:
    body, pose = parity_body(torch.float32), parity_pose(0)
    expected = body.pose(pose).world_vertices
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(body.pose(pose).world_vertices, expected)


def test_normals_of_a_sphere_point_away_from_its_center() -> None:
    body = sphere()
    normals = vertex_normals(body.vertices, body.faces)
    assert torch.allclose(normals, body.vertices / 0.5, atol=0.02)
    assert torch.allclose(normals.norm(dim=1), torch.ones(len(normals)))


def test_normals_are_sums_over_the_faces_in_their_order() -> None:
    """Which makes them equal to the bit from run to run, whatever the device does at once."""
    posed = parity_body(torch.float32).pose(parity_pose(0))
    vertices, faces = posed.vertices.numpy(), posed.body.faces.numpy()
    a, b, c = vertices[faces.T]
    flat = torch.linalg.cross(*(torch.from_numpy(edge) for edge in (b - a, c - a))).numpy()
    total = np.zeros_like(vertices)
    for k in range(3):
        for i, vertex in enumerate(faces[:, k]):
            total[vertex] += flat[i]
    expected = torch.nn.functional.normalize(torch.from_numpy(total), dim=1)
    assert torch.equal(posed.vertex_normals(world=False), expected)
    assert torch.equal(vertex_normals(posed.vertices, posed.body.faces), expected)


@pytest.mark.parametrize("name", ["body.py", "atlas.py"])
def test_what_normal_maps_are_made_of_adds_in_no_random_order(name: str) -> None:
    """These add atomically on CUDA: a CPU cannot show it (make test-cuda does)."""
    source = (Path(na_ray.body.body.__file__).parent / name).read_text()
    assert not re.findall(r"[.](index_add_?|scatter_add_?|scatter_reduce_?|index_put_|bincount)[(]", source)


def test_a_vertex_without_faces_has_no_normal() -> None:
    vertices = torch.tensor([[9.0, 9, 9], [0, 0, 0], [1, 0, 0], [0, 1, 0], [7, 7, 7]])
    normals = vertex_normals(vertices, torch.tensor([[1, 2, 3]]))
    assert normals.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_neighbors_share_the_edge_that_they_are_listed_for() -> None:
    faces = sphere(1).faces
    for f, row in enumerate(edge_neighbors(faces)):
        for k, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
            assert row[k] != f
            assert {int(faces[f, i]), int(faces[f, j])} <= set(faces[row[k]].tolist())


def test_a_face_at_the_border_is_its_own_neighbor() -> None:
    faces = torch.tensor([[0, 1, 2], [2, 1, 3]])
    assert edge_neighbors(faces).tolist() == [[0, 0, 1], [0, 1, 1]]


def test_a_pose_of_another_rig_is_refused() -> None:
    body = rigid(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match="24 joints in joints_RT but the body's skinning weights have 1 columns"):
        body.pose(parity_pose(0))


def test_precision_can_be_changed() -> None:
    posed = parity_body(torch.float32).pose(parity_pose(0)).to(dtype=torch.float64)
    assert posed.vertices.dtype == posed.body.weights.dtype == torch.float64
    assert posed.body.faces.dtype == torch.int64


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        at_rest(sphere(1)).to_world(torch.zeros(5, 4))
