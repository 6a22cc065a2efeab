import jaxtyping
import numpy as np
import pytest
import torch
from body_fixtures import arrays, at_rest, parity_body, parity_pose, rigid, sphere

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
    directions = posed.to_normalized(posed.joints[1:]) - posed.to_normalized(posed.joints[:1])
    assert torch.allclose(posed.rotate_to_normalized(posed.joints[1:] - posed.joints[:1]), directions, atol=1e-6)


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
