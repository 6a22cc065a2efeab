from dataclasses import replace

import numpy as np
import pytest
import torch
from body_fixtures import arrays, at_rest, parity_body, parity_pose, rigid, sphere
from torch import Tensor

from na_ray.body.atlas import Atlas
from na_ray.body.body import Body, PosedBody
from na_ray.body.rasterize import Drawing, sample_texture, textured_mesh
from na_ray.body.surface import Surface
from na_ray.body.unwrap import back_project, unwrap
from na_ray.capture.camera import Camera


def square() -> Body:
    """One metre by one metre, facing +z, its atlas the whole map: u runs along x, v along y."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
    return rigid(np.pad(corners, ((0, 0), (0, 1))), np.array([[0, 1, 2], [0, 2, 3]]), corners)


def camera(x: float, y: float, z: float, size: int = 64, focal: float = 96.0) -> Camera:
    """At (x, y, z), looking along -z with world y up."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = x, y, z
    K = np.array([[focal, 0, size / 2 - 0.5], [0, focal, size / 2 - 0.5], [0, 0, 1]])
    return Camera("0", K, pose, size, size)


def around(count: int, distance: float = 2.0, size: int = 128) -> list[Camera]:
    """Cameras on a horizontal ring that look at the origin."""
    cameras = []
    for angle in np.arange(count) * 2 * np.pi / count:
        back = np.array([np.sin(angle), 0, np.cos(angle)])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross([0, 1, 0], back), [0, -1, 0], -back], axis=1)
        pose[:3, 3] = distance * back
        K = np.array([[1.4 * size, 0, size / 2 - 0.5], [0, 1.4 * size, size / 2 - 0.5], [0, 0, 1]])
        cameras.append(Camera(str(len(cameras)), K, pose, size, size))
    return cameras


def draw(posed: PosedBody, texture: Tensor, cameras: list[Camera]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    surface = Surface(posed.body.faces, len(posed.vertices))
    views = [textured_mesh(posed, texture, each, surface, supersample=3) for each in cameras]
    return [(v[0] * 255).round().byte().numpy() for v in views], [v[2].numpy() > 0.5 for v in views]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_texels_and_normal_maps_match_the_original(dtype: torch.dtype) -> None:
    expected = arrays("body_normal_maps")
    body = parity_body(dtype)
    # The fixtures' texture coordinates are float64, a rig's are float32.
    body = replace(body, uv=torch.tensor(arrays("body_rig")["vt"], dtype=dtype))
    atlas = Atlas(body, 256)
    inside, away = expected["inside"], expected["inside"] & ~expected["edge"]
    assert (atlas.inside.numpy() != inside).sum() <= 5
    assert (atlas.face.numpy() == expected["face"])[away].all()
    for frame in range(3):
        posed = body.pose(parity_pose(frame))
        fill = atlas.interpolate(posed.vertex_normals() / 2 + 0.5).reshape(-1, 3)[expected["pixels"]]
        error = np.abs(fill.double().numpy() - expected[f"f{frame}_fill_xyz"])
        assert error.max() < (1e-6 if dtype == torch.float64 else 1e-4)
    published = np.abs(atlas.normal_map(body.pose(parity_pose(0))).numpy().astype(int) - expected["f0_png"]).max(axis=2)
    # Outlines depend on the GL that drew them: a dozen texels are touched here and not there.
    assert (published[away] <= 1).mean() > 0.999
    assert (published[~inside & ~expected["edge"]] == 0).mean() > 0.999
    assert (published[expected["edge"]] <= 1).mean() > 0.94


def test_the_first_row_of_a_map_is_v_one_and_centers_lie_at_half_texels() -> None:
    atlas = Atlas(square(), 4)
    position = atlas.interpolate(square().vertices)
    assert atlas.inside.all()
    assert position[0, 0].tolist() == pytest.approx([0.125, 0.875, 0])
    assert position[3, 2].tolist() == pytest.approx([0.625, 0.125, 0])


def test_a_normal_map_holds_z_y_x() -> None:
    tilted = square()
    turn = torch.tensor([[0.6, 0.0, -0.8], [0.0, 1.0, 0.0], [0.8, 0.0, 0.6]])
    posed = at_rest(
        Body(tilted.vertices @ turn, tilted.faces, tilted.uv, tilted.uv_faces, tilted.weights, tilted.tpose)
    )
    normal = torch.tensor([0.8, 0.0, 0.6])
    expected = (normal.flip(0) * 127.5 + 127.5).round().byte()
    assert (Atlas(tilted, 8).normal_map(posed) == expected).all()


def test_white_lies_outside_the_charts_and_outlines_grow_them_by_a_texel_at_most() -> None:
    small = square()
    body = Body(small.vertices, small.faces, small.uv * 0.5 + 0.2, small.uv_faces, small.weights, small.tpose)
    atlas = Atlas(body, 32)
    picture = atlas.normal_map(at_rest(body))
    near = torch.nn.functional.max_pool2d(atlas.inside[None].float(), 3, 1, 1)[0] > 0
    assert (picture[~near] == 255).all()
    assert (picture[atlas.inside][:, 1].float() - 127.5).abs().max() <= 0.5


def test_an_atlas_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="100000 texels a side; expected at most 16384"):
        Atlas(square(), 100_000)


def test_an_atlas_of_no_texels_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one texel, got 0"):
        Atlas(square(), 0)


def test_a_texture_is_drawn_upright() -> None:
    texture = torch.zeros(3, 8, 8)
    texture[0, :4], texture[1, 4:], texture[2, :, 4:] = 1, 1, 1
    posed, view = at_rest(square()), camera(0.5, 0.5, 2.0)
    color, depth, coverage = textured_mesh(posed, texture, view, Surface(posed.body.faces, 4))
    # The square is 48 of the 64 pixels wide; its top (v = 1) is red, its right half has blue.
    assert color[12, 12].tolist() == [1, 0, 0]
    assert color[12, 52].tolist() == [1, 0, 1]
    assert color[52, 52].tolist() == [0, 1, 1]
    assert color[2, 2].tolist() == [1, 1, 1]
    assert coverage.sum().item() == pytest.approx(48 * 48)
    assert depth[32, 32].item() == pytest.approx(2.0, abs=1e-3)
    assert depth[2, 2].item() == 0
    again = textured_mesh(posed, texture.permute(1, 2, 0), view, Surface(posed.body.faces, 4))[0]
    assert torch.equal(color, again)


def gray(posed: PosedBody, view: Camera, supersample: int = 2) -> Drawing:
    surface = Surface(posed.body.faces, len(posed.vertices))
    return textured_mesh(posed, torch.full((3, 1, 1), 0.5), view, surface, supersample)


def test_a_sphere_covers_the_disk_that_perspective_gives_it() -> None:
    posed, view = at_rest(sphere(4)), camera(0, 0, 2.0)
    _, depth, coverage = gray(posed, view, supersample=4)
    radius = 96 * 0.5 / np.sqrt(2.0**2 - 0.5**2)
    assert coverage.sum().item() == pytest.approx(np.pi * radius**2, rel=0.01)
    assert depth[31:33, 31:33].mean().item() == pytest.approx(1.5, abs=1e-3)


def test_a_body_around_the_camera_is_drawn() -> None:
    posed = at_rest(sphere())
    _, depth, coverage = gray(posed, camera(0, 0, 0))
    assert (coverage == 1).all()
    assert torch.allclose(depth, torch.tensor(0.5), atol=0.01)


def test_textures_have_three_channels() -> None:
    posed = at_rest(square())
    with pytest.raises(ValueError, match=r"shape \(4, 8, 8\) given"):
        textured_mesh(posed, torch.zeros(4, 8, 8), camera(0.5, 0.5, 2.0), Surface(posed.body.faces, 4))


def smooth_texture(size: int) -> Tensor:
    r, c = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(6 * c), 0.5 + 0.4 * torch.cos(5 * r), 0.3 + 0.4 * r])


def test_unwrapping_what_was_drawn_gives_the_texture_back() -> None:
    posed, texture = at_rest(square()), smooth_texture(64)
    cameras = [camera(0.5, 0.5, 2.0, 128, 160), camera(0.9, 0.3, 2.0, 128, 160)]
    images, masks = draw(posed, texture, cameras)
    atlas = Atlas(posed.body, 64)
    colors, seen = back_project(atlas, images, cameras, posed, masks)
    assert seen.float().mean() > 0.9
    assert (colors - texture.permute(1, 2, 0)[atlas.inside])[seen].abs().max() < 0.03
    unwrapped = unwrap(atlas, images, cameras, posed, masks)
    assert torch.equal(unwrapped[atlas.inside][seen], (colors[seen] * 255).round().byte())


def columns(gap: float) -> Body:
    """A square with a smaller one before it, each with half of the map."""
    back = square()
    front = back.vertices * 0.5 + torch.tensor([0.25, 0.25, gap])
    vertices = torch.cat([back.vertices, front])
    uv = torch.cat([back.uv * torch.tensor([0.5, 1.0]), back.uv * torch.tensor([0.5, 1.0]) + torch.tensor([0.5, 0])])
    return rigid(vertices.numpy(), torch.cat([back.faces, back.faces + 4]).numpy(), uv.numpy())


def test_what_is_hidden_is_not_read_but_painted_like_its_surroundings() -> None:
    body = columns(0.3)
    posed, view = at_rest(body), camera(0.5, 0.5, 2.0, 128, 160)
    texture = torch.zeros(3, 64, 64)
    texture[0, :, :32], texture[1, :, 32:] = 0.8, 0.8
    images, masks = draw(posed, texture, [view])
    atlas = Atlas(body, 64)
    _, seen = back_project(atlas, images, [view], posed, masks)
    visible = torch.zeros(64, 64, dtype=torch.bool)
    visible[atlas.inside] = seen
    assert not visible[24:40, 12:20].any()
    assert visible[4:60, 36:60].all()
    found = unwrap(atlas, images, [view], posed, masks)
    # Red behind, green before: nothing green on the hidden part of the red square.
    assert (found[24:40, 12:20].float() - torch.tensor([204.0, 0, 0])).abs().max() < 12


def test_the_background_stays_out_of_the_texture() -> None:
    posed, dark = at_rest(sphere(4)), torch.full((3, 32, 32), 0.2)
    cameras = around(6)
    images, masks = draw(posed, dark, cameras)
    atlas = Atlas(posed.body, 64)
    inside = unwrap(atlas, images, cameras, posed, masks)[atlas.inside]
    assert inside.max() <= 60
    rgba = [np.dstack([image, mask * np.uint8(255)]) for image, mask in zip(images, masks, strict=True)]
    assert torch.equal(unwrap(atlas, rgba, cameras, posed)[atlas.inside], inside)


def test_padding_repeats_the_border_and_the_rest_is_black() -> None:
    small = square()
    body = Body(small.vertices, small.faces, small.uv * 0.5 + 0.25, small.uv_faces, small.weights, small.tpose)
    posed, view = at_rest(body), camera(0.5, 0.5, 2.0, 128, 160)
    images, masks = draw(posed, torch.full((3, 8, 8), 0.6), [view])
    texture = unwrap(Atlas(body, 32), images, [view], posed, masks, padding=3)
    assert (texture[5:27, 5:27].float() - 153).abs().max() <= 2
    assert (texture[:5] == 0).all()
    assert (texture[27:] == 0).all()


def test_mistakes_in_the_views_are_named() -> None:
    posed, view = at_rest(square()), camera(0.5, 0.5, 2.0)
    atlas, image = Atlas(posed.body, 8), np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="camera 0: the image is 64x32 but the camera expects 64x64"):
        unwrap(atlas, [image], [view], posed)
    with pytest.raises(ValueError, match="1 images for 2 cameras"):
        unwrap(atlas, [image], [view, view], posed)


def test_textures_are_read_at_the_centers_of_their_texels() -> None:
    texture = torch.rand(3, 4, 8, generator=torch.Generator().manual_seed(0))
    uv = torch.tensor([[(5 + 0.5) / 8, 1 - (2 + 0.5) / 4], [1.0, 1.0]])
    assert torch.allclose(sample_texture(texture, uv), torch.stack([texture[:, 2, 5], texture[:, 0, 7]]))
