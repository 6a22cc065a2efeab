"""What cameras see of texels, against a sphere that is traced and painted in closed form."""

import numpy as np
import pytest
import torch
from body_fixtures import at_rest, rigid, sphere
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody
from na_ray.body.surface import Surface
from na_ray.body.views import TexelReader, distance_within, near_body
from na_ray.capture.camera import Camera

RADIUS = 0.5


def around(count: int, size: int = 128, distance: float = 2.0) -> list[Camera]:
    """Cameras on a ring that look at the origin; the last stands above it."""
    cameras = []
    for k, angle in enumerate(np.arange(count) * 2 * np.pi / count):
        back = np.array([np.sin(angle), 0.3 * (k % 2), np.cos(angle)])
        back /= np.linalg.norm(back)
        right = np.cross([0, 1, 0], back) / np.linalg.norm(np.cross([0, 1, 0], back))
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(-back, right), -back], axis=1)
        pose[:3, 3] = distance * back
        K = np.array([[1.4 * size, 0, size / 2 + 1.3], [0, 1.4 * size, size / 2 - 2.1], [0, 0, 1]])
        cameras.append(Camera(str(k), K, pose, size, size + 10))
    return cameras


def paint(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """A color for every point of space."""
    return 0.5 + 0.4 * np.sin(7 * points + np.array([0.0, 1.0, 2.0]) + 3 * points[:, [1, 2, 0]])


def trace(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The painted sphere on green, and its silhouette: rays met with it by the quadratic formula."""
    origins, directions = camera.rays(camera.pixel_grid())
    half = (origins * directions).sum(1)
    inside = half**2 - ((origins**2).sum(1) - RADIUS**2)
    hit = inside > 0
    points = origins + (-half - np.sqrt(np.maximum(inside, 0)))[:, None] * directions
    colors = np.where(hit[:, None], paint(points), [0.0, 1.0, 0.0])
    size = (camera.height, camera.width)
    return (colors * 255).round().astype(np.uint8).reshape(*size, 3), hit.reshape(size)


@pytest.fixture(scope="module")
def ball() -> PosedBody:
    return at_rest(sphere(4))


def test_texels_have_the_colors_of_what_a_ray_tracer_saw(ball: PosedBody) -> None:
    cameras, reader = around(5), TexelReader(Atlas(ball.body, 96))
    images, masks = zip(*map(trace, cameras), strict=True)
    views = reader.read(ball, images, cameras, masks)
    points = reader.at_texels(ball.world_vertices).double().numpy()
    assert views.seen.float().mean() > 0.8
    error = np.abs(views.colors.double().numpy() - paint(points))[(views.weights > 0.02).numpy()]
    # A pixel is 11 mm here, and the paint's waves are half a metre long.
    assert error.max() < 0.06 and error.mean() < 0.006
    again = reader.read(ball, images, cameras, masks)
    assert torch.equal(again.colors, views.colors) and torch.equal(again.weights, views.weights)


def test_the_background_is_read_by_none_and_texels_at_the_outline_count_less(ball: PosedBody) -> None:
    cameras, reader = around(3), TexelReader(Atlas(ball.body, 96))
    images, masks = zip(*map(trace, cameras), strict=True)
    views = reader.read(ball, images, cameras, masks)
    points = reader.at_texels(ball.world_vertices).double().numpy()
    for k, camera in enumerate(cameras):
        seen = views.weights[k] > 0
        assert (views.colors[k][seen, 1] < 0.97).all()
        pixels = np.round(camera.project(points)[0][seen.numpy()]).astype(int)
        away = distance_transform_edt(masks[k])[pixels[:, 1], pixels[:, 0]]
        offset = camera.center - points
        cosine = (offset * points).sum(1) / RADIUS / np.linalg.norm(offset, axis=1)
        share = (views.weights[k] / torch.tensor(cosine) ** 4)[seen].numpy()
        assert share[away > 8].min() > 0.97 and share[away < 2].max() < 0.3


def columns() -> Body:
    """A square metre with a smaller one half a metre before it, each with half of the map."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    back = np.pad(corners, ((0, 0), (0, 1)))
    front = back * 0.4 + np.array([0.3, 0.3, 0.5])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    uv = np.concatenate([corners * [0.5, 1], corners * [0.5, 1] + [0.5, 0]])
    return rigid(np.concatenate([back, front]), np.concatenate([faces, faces + 4]), uv)


def test_what_a_ray_would_not_reach_is_not_read() -> None:
    posed = at_rest(columns())
    camera = around(1, 256, 3.0)[0]
    camera.T_world_camera[:3, 3] += [0.8, 0.4, 0]
    reader, surface = TexelReader(Atlas(posed.body, 64)), Surface(posed.body.faces, 8)
    views = reader.read(posed, [np.full((camera.height, camera.width, 3), 99, np.uint8)], [camera])
    points = reader.at_texels(posed.world_vertices)
    surface.refit(posed.world_vertices)
    center = torch.tensor(camera.center, dtype=torch.float32)
    _, depth, _ = surface.intersect(center.expand_as(points).contiguous(), points - center)
    free = depth > 1 - 1e-3
    told = (views.weights[0] > 0) == free
    # The depth buffer knows whole pixels: a texel at the edge of the shadow may be told otherwise.
    assert told.float().mean() > 0.98 and 0.1 < (~free).float().mean() < 0.4


def test_distances_are_those_of_a_distance_transform() -> None:
    target = np.random.default_rng(3).random((40, 57)) > 0.98
    found = distance_within(torch.tensor(target), 6).numpy()
    assert np.allclose(found, np.minimum(distance_transform_edt(~target), 6))


def test_the_part_of_a_picture_near_the_body_has_its_own_camera(ball: PosedBody) -> None:
    for camera in around(4):
        cut = near_body(ball, camera)
        assert cut.camera.height == cut.rows.stop - cut.rows.start
        assert cut.camera.width == cut.columns.stop - cut.columns.start
        points = ball.world_vertices.double().numpy()
        moved = cut.camera.project(points)[0] + [cut.columns.start, cut.rows.start]
        assert np.abs(moved - camera.project(points)[0]).max() < 1e-9
        assert cut.camera.height < camera.height


def test_an_image_of_another_size_is_named(ball: PosedBody) -> None:
    camera, reader = around(1)[0], TexelReader(Atlas(ball.body, 16))
    with pytest.raises(ValueError, match="camera 0: the image is 64x32 but the camera expects 138x128"):
        reader.read(ball, [np.zeros((32, 64, 3), np.uint8)], [camera])
