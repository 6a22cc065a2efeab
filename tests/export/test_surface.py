"""The NeRF's surface: an untrained one with a mesh prior has its surface at the body."""

import numpy as np
import pytest
import torch
import trimesh

from na_ray.actor import open_actor
from na_ray.capture.dataset import Capture
from na_ray.config.values import UserError
from na_ray.export.surface import nerf_surface


@pytest.mark.parametrize("frame", [0, 4])
def test_the_surface_lies_at_the_body(actor, capture: Capture, frame: int) -> None:  # type: ignore[no-untyped-def]
    split = capture.split("training")
    avatar, pose, texture = open_actor(actor).avatar("nerf"), split.pose(frame), split.texture(frame)
    found = nerf_surface(avatar, pose, texture, 48, 20.0)
    vertices = avatar.body.pose(pose).world_vertices.numpy()
    body = trimesh.Trimesh(vertices, capture.rig.faces, process=False)
    away = np.abs(trimesh.proximity.closest_point_naive(body, found.vertices)[1])
    assert np.quantile(away, 0.95) < 0.03 and found.volume > 0.6 * abs(body.volume)
    np.testing.assert_allclose(found.bounds, body.bounds, atol=0.06)
    assert found.visual.vertex_colors.std() > 5, "it is colored"
    finer = nerf_surface(avatar, pose, texture, 64, 20.0)
    assert len(finer.vertices) > 1.4 * len(found.vertices)


def test_a_threshold_that_nothing_reaches_is_one_line(actor, capture: Capture) -> None:  # type: ignore[no-untyped-def]
    split = capture.split("training")
    avatar = open_actor(actor).avatar("nerf")
    with pytest.raises(UserError, match=r"no density reaches the threshold of 1e\+09 1/m: the largest is .*: lower it"):
        nerf_surface(avatar, split.pose(0), split.texture(0), 16, 1e9)
    assert torch.is_grad_enabled()
