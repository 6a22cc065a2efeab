import numpy as np
import pytest

from na_ray.capture.camera import Camera
from na_ray.capture.pixels import draw_pixels, near_body, thin_out

RADIUS = 0.06


def camera(distance: float, width: int = 96, height: int = 80, shift: float = 0.0) -> Camera:
    pose = np.eye(4)
    pose[:3, 3] = [shift, 0.0, -distance]
    K = np.array([[1.1 * width, 0, width / 2 + 3], [0, 1.05 * width, height / 2 - 2], [0, 0, 1]])
    return Camera("test", K, pose, height, width)


def meets_a_sphere(vertices: np.ndarray, view: Camera) -> np.ndarray:
    """Naive: for every pixel and vertex, does the ray pass the vertex within the radius, in front of the camera?"""
    _, directions = view.rays(view.pixel_grid())
    hit = np.zeros(len(directions), bool)
    for vertex in vertices.astype(np.float64) - view.center:
        along = directions @ vertex
        hit |= (along > 0) & (vertex @ vertex - along**2 < RADIUS**2)
    return hit.reshape(view.height, view.width)


@pytest.mark.parametrize("distance", [0.5, 1.5, 4.0])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_every_pixel_that_can_meet_the_shell_is_marked_and_few_others(distance: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    vertices = (rng.normal(size=(60, 3)) * [0.1, 0.25, 0.1]).astype(np.float32)
    view = camera(distance, shift=shift)
    exact = meets_a_sphere(vertices, view)
    points, reach = thin_out(vertices, RADIUS)
    near, tile = near_body(points, view, reach)
    marked = np.kron(near, np.ones((tile, tile), bool))[: view.height, : view.width]
    assert exact.any()
    assert not (exact & ~marked).any()
    if distance > 1:
        assert marked.sum() < 2.5 * exact.sum() + 400


def test_a_camera_among_the_vertices_marks_everything() -> None:
    near, tile = near_body(np.zeros((3, 3), np.float32), camera(0.05), RADIUS)
    assert near.all() and near.shape[0] * tile >= 80


def test_pixels_are_drawn_uniformly_over_the_marked_tiles_without_repeats() -> None:
    near = np.zeros((5, 6), bool)
    near[1, 2] = near[4, 5] = True  # the second sticks out of a picture of 18 x 22 pixels
    rng = np.random.default_rng(1)
    xy = draw_pixels(rng, np.argwhere(near), 4, height=18, width=22, count=12)
    assert len(np.unique(xy, axis=0)) == 12
    counts = np.zeros((18, 22))
    for _ in range(2000):
        for x, y in draw_pixels(rng, np.argwhere(near), 4, height=18, width=22, count=5):
            counts[y, x] += 1
    assert counts.sum() == 10_000
    inside = np.zeros((18, 22), bool)
    inside[4:8, 8:12] = inside[16:18, 20:22] = True
    assert (counts[~inside] == 0).all()
    assert np.abs(counts[inside] - 500).max() < 130  # six standard deviations


def test_pixels_repeat_where_there_are_too_few_and_fill_a_picture_without_a_body() -> None:
    rng = np.random.default_rng(2)
    one = np.zeros((3, 3), bool)
    one[0, 0] = True
    assert len(draw_pixels(rng, np.argwhere(one), 2, 6, 6, count=50)) == 50
    nothing = draw_pixels(rng, np.zeros((0, 2), int), 2, 6, 6, count=20)
    assert len(np.unique(nothing, axis=0)) == 20 and nothing.max() <= 5


def test_thinned_points_are_fewer_and_their_spheres_hold_all_spheres() -> None:
    vertices = (np.random.default_rng(3).normal(size=(5000, 3)) * 0.03).astype(np.float32)
    points, reach = thin_out(vertices, RADIUS)
    assert len(points) < len(vertices) / 3
    nearest = np.linalg.norm(vertices[:, None] - points[None], axis=2).min(axis=1)
    assert (nearest + RADIUS <= reach + 1e-6).all()


def test_a_body_outside_the_picture_marks_nothing() -> None:
    near, _ = near_body(np.full((4, 3), [5.0, 0.0, 0.0], np.float32), camera(4.0), RADIUS)
    assert not near.any()
