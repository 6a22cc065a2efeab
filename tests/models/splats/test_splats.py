"""The splat avatar as a whole: before training a textured mesh, whichever way the body and the camera are moved."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import ray.cloudpickle
import torch
from torch import Tensor

from na_ray.body.body import PosedBody
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera
from na_ray.capture.rig import Pose
from na_ray.config.splats import SplatsConfig
from na_ray.models.splats.splats import PictureBatch, Splats
from na_ray.models.splats.views import Views
from tests.models.bodies import bent, blob
from tests.models.splats.actors import (
    SMALL,
    at_rest,
    beside,
    body_of,
    column_pose,
    column_rig,
    facing,
    pattern,
    sheet,
)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def on_sheet(texels: int = 64) -> tuple[Splats, PosedBody]:
    torch.manual_seed(0)
    splats = Splats(replace(SMALL, texels=texels), body_of(sheet(8))).eval()
    return splats, splats.body.pose(at_rest(1))


def on_column() -> Splats:
    torch.manual_seed(0)
    return Splats(replace(SMALL, texels=64), body_of(column_rig())).eval()


def shaken(splats: Splats, seed: int = 0) -> Splats:
    """As if it were trained: every parameter is moved."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in splats.parameters():
            p += 0.1 * torch.randn(*p.shape, generator=rng)
    return splats


def test_the_decoder_says_nothing_before_training() -> None:
    splats = on_column()
    texels = splats.texels.pose(splats.body.pose(column_pose(4)))
    texture = torch.rand(3, 64, 64)
    gaussians, output = splats.gaussians_of(texels, texture, torch.zeros(3, len(splats.texels)), texels.normals)
    assert output.shape == (14, 64 * 64) and (output == 0).all()
    seen = texture.view(3, -1)[:, splats.texels.index.long()].T
    share = 1 / (1 + np.exp(-3))
    torch.testing.assert_close(gaussians.colors, share * seen + (1 - share) * 0.5, rtol=0, atol=1e-6)
    torch.testing.assert_close(gaussians.opacities, torch.full((len(seen),), 0.95), rtol=0, atol=1e-5)


def test_the_first_picture_is_that_of_the_textured_mesh() -> None:
    splats, posed = on_sheet()
    texture, camera = pattern(64), facing(32)  # a pixel for two texels: before training they leave gaps
    splats.start_from(lambda: [(posed, texture)])
    found = splats.picture(splats.encode(posed, texture), camera)
    surface = Surface(splats.body.faces, len(splats.body.vertices))

    def mesh(worn: Tensor) -> Tensor:
        return textured_mesh(posed, worn, camera, surface, supersample=3)[0]

    inside = textured_mesh(posed, texture, camera, surface, supersample=3)[2] == 1
    assert inside.float().mean() > 0.7
    right = psnr(found.colors[inside], mesh(texture)[inside])
    assert right > 30
    wrong = {
        "rotated": texture.rot90(1, (1, 2)),
        "upside down": texture.flip(1),
        "left is right": texture.flip(2),
        "channels swapped": texture.flip(0),
    }
    for name, worn in wrong.items():
        assert psnr(found.colors[inside], mesh(worn)[inside]) < 15, name
    assert found.transmittance[inside].max() < 0.05
    alone = ~torch.nn.functional.max_pool2d(inside[None, None].float(), 5, 1, 2)[0, 0].bool()
    assert (found.transmittance[alone] > 0.99).all() and (found.colors[alone] > 0.99).all()


def test_depths_and_normals_are_those_of_the_surface() -> None:
    splats, posed = on_sheet()
    camera = facing(64)
    with torch.no_grad():
        splats.fixed[3:5] = 0.3  # no gaps
    found = splats.picture(splats.encode(posed, pattern(64)), camera)
    core = slice(12, 52)
    _, rays = camera.rays(camera.pixel_grid())
    along = torch.from_numpy(1.5 / -rays[:, 2]).view(64, 64)[core, core]
    passing = found.transmittance[core, core]
    expected = along * (1 - passing) + 5.0 * passing
    torch.testing.assert_close(found.depth[core, core].double(), expected.double(), rtol=0, atol=2e-3)
    assert (found.normals[core, core][..., 2] > 0.99).all(), "a sheet that faces the camera"


@pytest.mark.parametrize("trained", [False, True])
def test_equally_moved_camera_and_body_give_the_same_picture(trained: bool) -> None:
    """The decoder sees the world's normals: it is left out where the whole is turned."""
    splats = on_column()
    if trained:
        shaken(splats)
        torch.nn.init.zeros_(splats.decoder.out.weight)
    pose, camera, texture = column_pose(6), beside(64, 6), pattern(64)
    turn = np.asarray(bent().rotation, np.float64)  # any rotation; stored transposed
    shift = np.array([0.7, -1.3, 2.1])
    rotation = (pose.rotation.astype(float) @ turn).astype(np.float32)
    place = (pose.translation.reshape(3).astype(float) @ turn + shift).astype(np.float32)
    moved = Pose(pose.joints_RT, rotation, place, pose.joints, None)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = turn.T, shift
    seen = replace(camera, T_world_camera=T @ camera.T_world_camera)
    first = splats.picture(splats.encode(splats.body.pose(pose), texture), camera)
    second = splats.picture(splats.encode(splats.body.pose(moved), texture), seen)
    assert (first.transmittance < 0.5).float().mean() > 0.05
    for name in ("colors", "depth", "transmittance"):
        difference = (vars(first)[name] - vars(second)[name]).abs()
        # Of two that are equally far, rounding decides which comes first.
        assert (difference < 0.01).float().mean() > 0.995 and difference.mean() < 1e-3, name


def test_covariances_turn_with_the_pose() -> None:
    splats = shaken(on_column())
    torch.nn.init.zeros_(splats.decoder.out.weight)
    pose = column_pose(6)
    turn = np.asarray(bent().rotation, np.float32)
    turned = replace(pose, rotation=(pose.rotation @ turn).astype(np.float32))
    texture = torch.rand(3, 64, 64)
    a, b = (splats.gaussians(splats.encode(splats.body.pose(p), texture))[0] for p in (pose, turned))
    R = torch.from_numpy(turn).T.double()
    first, second = (g.factors.double() @ g.factors.double().mT for g in (a, b))
    torch.testing.assert_close(second, R @ first @ R.T, rtol=0, atol=1e-9)
    torch.testing.assert_close(b.means.double(), a.means.double() @ R.T, rtol=0, atol=1e-6)


def test_pictures_at_one_and_two_rays_agree_in_the_mean() -> None:
    splats = on_column()
    with torch.no_grad():
        splats.fixed[3:5] = 0.3  # no gaps between the texels, which finer pictures would show
    frame, camera = splats.encode(splats.body.pose(column_pose(2)), pattern(64)), beside(64, 2)
    one, two, three = (splats.picture(frame, camera, rays) for rays in (1, 2, 3))
    for finer in (two, three):
        assert abs(float(one.colors.mean() - finer.colors.mean())) < 3e-3
        assert abs(float(one.transmittance.mean() - finer.transmittance.mean())) < 3e-3
        assert psnr(one.colors, finer.colors) > 27


def dressed(frames: int = 8) -> tuple[Splats, list[tuple[PosedBody, Tensor]]]:
    """A column that turns in front of a light: its maps follow its normals, and are anything between the charts."""
    splats = on_column()
    rng = torch.Generator().manual_seed(3)
    base, light = 0.3 + 0.3 * pattern(64), torch.tensor([0.3, 0.3, 0.5])
    shown = []
    for frame in range(frames):
        pose = column_pose(frame)
        angle = 0.8 * frame
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32)
        posed = splats.body.pose(replace(pose, rotation=turn))
        normals = splats.texels.pose(posed).normals
        texture = base * (1 + (light[:, None, None] * normals).sum(0))
        texture = texture + 0.01 * torch.randn(3, 64, 64, generator=rng)
        outside = torch.ones(64 * 64, dtype=torch.bool)
        outside[splats.texels.index.long()] = False
        texture.view(3, -1)[:, outside] = 1.0
        shown.append((posed, texture.clamp(0, 1)))
    return splats, shown


def colors(splats: Splats, posed: PosedBody, texture: Tensor) -> Tensor:
    return splats.gaussians(splats.encode(posed, texture))[0].colors


def test_the_mean_map_is_put_into_the_light_of_the_pose_and_a_frame_s_own_is_not() -> None:
    splats, shown = dressed()
    splats.start_from(lambda: shown)
    at = splats.texels.index.long()
    mean = torch.stack([texture for _, texture in shown]).mean(0)
    nearer = []
    for posed, texture in shown:
        own, pose_alone = colors(splats, posed, texture), colors(splats, posed, mean)
        # The share of the texel's own color is that of the mean in the light of the pose, in both.
        held = splats._inside((64, 64)).view(-1)[at]
        torch.testing.assert_close(own[held], own_of(splats, posed, texture)[held], rtol=0, atol=1e-5)
        wanted = texture.view(3, -1)[:, at].T
        unlit = mean.view(3, -1)[:, at].T
        nearer.append(float((pose_alone - wanted).square().mean() / (unlit - wanted).square().mean()))
    assert max(nearer) < 0.5, f"the light of the pose explains the frame's map: {nearer}"


def own_of(splats: Splats, posed: PosedBody, texture: Tensor) -> Tensor:
    """Colors where the decoder says nothing, of this very map."""
    texels = splats.texels.pose(posed)
    at = splats.texels.index.long()
    lit = splats._lit(texels)
    share = 1 / (1 + np.exp(-3))
    given = texture.view(3, -1)[:, at]
    return (share * given + (1 - share) * (splats.mean_texture.view(3, -1)[:, at] + lit)).T


def test_what_lies_between_the_charts_is_not_looked_at() -> None:
    """Captures fill it with anything: white, black, or the charts' colors, grown."""
    splats, shown = dressed()
    splats.start_from(lambda: shown)
    shaken(splats)
    outside = torch.ones(64 * 64, dtype=torch.bool)
    outside[splats.texels.index.long()] = False
    posed, texture = shown[2]
    other = texture.clone()
    other.view(3, -1)[:, outside] = 0.2
    torch.testing.assert_close(colors(splats, posed, other), colors(splats, posed, texture), rtol=0, atol=0)


def batch_of(splats: Splats, share: float = 1.0, views: int = 2) -> PictureBatch:
    cameras = [beside(48, 0), facing(48, 3.0, 0.0, 0.8)][:views]
    posed = splats.body.pose(column_pose(0))
    rng = torch.Generator().manual_seed(1)
    return PictureBatch(
        posed=posed,
        texture=torch.rand(3, 64, 64, generator=rng),
        share=torch.tensor(share),
        turn=torch.eye(3),
        views=Views.of(cameras, posed.translation.numpy(), torch.device("cpu")),
        targets=torch.rand(len(cameras), 48, 48, 3, generator=rng),
        sizes=((48, 48),) * len(cameras),
    )


def test_every_parameter_of_the_drawn_texels_has_a_gradient() -> None:
    splats = shaken(on_column())
    loss, squared = splats(batch_of(splats))
    loss.backward()
    assert float(loss.detach()) > float(squared) > 0
    for name, p in splats.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all() and p.grad.abs().max() > 0, name


def test_views_of_a_frame_are_worth_the_sum_of_each() -> None:
    """So that workers may share them."""
    splats = shaken(on_column())
    batch = batch_of(splats)
    total, _ = splats(batch)
    parts = []
    for k in range(2):
        views = replace(batch.views, numbers=batch.views.numbers[k : k + 1], windows=batch.views.windows[k : k + 1])
        one, _ = splats(replace(batch, views=views, targets=batch.targets[k : k + 1], sizes=batch.sizes[k : k + 1]))
        parts.append(one)
    torch.testing.assert_close(total, parts[0] + parts[1], rtol=1e-6, atol=0)


def test_a_step_without_its_own_map_sees_nothing_of_it() -> None:
    splats, shown = dressed()
    splats.start_from(lambda: shown)
    shaken(splats)
    blind = batch_of(splats, share=0.0)
    loss, _ = splats(blind)
    other, _ = splats(replace(blind, texture=torch.rand(3, 64, 64)))
    assert torch.equal(loss, other)
    seen, _ = splats(replace(blind, share=torch.tensor(1.0)))
    assert not torch.equal(loss, seen)


def test_maps_of_any_size_are_averaged_within_the_charts() -> None:
    """White between the charts stays out of the texels that hold some of a chart."""
    splats = on_column()
    inside = splats._inside((256, 256))
    texture = torch.where(inside, torch.tensor(0.25), torch.tensor(1.0)).expand(3, 256, 256)
    small = splats.shrink(texture)
    held = torch.nn.functional.max_pool2d(inside[None, None].float(), 4)[0, 0] > 0
    assert small.shape == (3, 64, 64)
    torch.testing.assert_close(small[:, held], torch.full_like(small[:, held], 0.25))
    centers = splats._inside((64, 64))
    stored = torch.where(centers, 0.5 * torch.rand(3, 64, 64), torch.tensor(1.0))
    kept = splats.shrink(stored)
    torch.testing.assert_close(kept[:, centers], stored[:, centers])
    at = splats.texels.index.long()
    assert float(kept.view(3, -1)[:, at].max()) <= 0.5 + 1e-6, "a border's texel is not whitened"


def test_a_body_that_no_camera_sees_draws_the_background() -> None:
    splats = on_column()
    frame = splats.encode(splats.body.pose(column_pose(0)), torch.rand(3, 64, 64))
    away = beside(32)
    behind = replace(away, T_world_camera=away.T_world_camera @ np.diag([-1.0, 1, -1, 1]))
    found = splats.picture(frame, behind, 2)
    assert (found.colors == 1).all() and (found.transmittance == 1).all() and (found.depth == 5).all()


def test_stacked_charts_draw() -> None:
    splats = Splats(SplatsConfig(texels=32, widths=(8,)), body_of(blob())).eval()
    T = np.eye(4)
    camera = Camera("c", np.array([[80.0, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]), T, 64, 64)
    found = splats.picture(splats.encode(splats.body.pose(bent()), torch.rand(3, 32, 32)), camera)
    assert torch.isfinite(found.colors).all() and float(found.transmittance.min()) < 0.2


def test_a_map_that_is_worn_again_is_shrunk_once_and_one_that_changed_anew() -> None:
    splats, texture = on_column(), torch.rand(3, 128, 128)
    first = splats.shrink(texture)
    assert splats.shrink(texture) is first and torch.equal(splats.shrink(texture.clone()), first)
    texture.mul_(0.5)
    assert torch.allclose(splats.shrink(texture), first / 2)
    assert splats.double().shrink(texture.double()).dtype == torch.float64


def test_it_travels_to_another_process() -> None:
    """As a crew's hands get it (`run.crew`), after it has drawn."""
    splats = shaken(on_column()).eval()
    posed, texture = splats.body.pose(column_pose(0)), torch.rand(3, 64, 64)
    expected = splats.encode(posed, texture).gaussians
    copy = pickle.loads(ray.cloudpickle.dumps(splats))
    found = copy.encode(posed, texture).gaussians
    assert torch.equal(found.means, expected.means) and torch.equal(found.colors, expected.colors)
    assert copy._replayed.function.__self__ is copy
