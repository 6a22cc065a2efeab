"""With `mesh_residual` training starts from the posed mesh and its texture, and learns what they lack."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from na_ray.body.body import Body
from na_ray.body.rasterize import textured_mesh
from na_ray.body.surface import Surface
from na_ray.capture.camera import Camera
from na_ray.config import DataConfig, NerfConfig, OptimConfig
from na_ray.evaluation.image_metrics import psnr, ssim
from na_ray.models import losses, optim
from na_ray.models.nerf.mesh_prior import SHARP, SOFT, MeshPrior
from na_ray.models.nerf.renderer import Nerf
from na_ray.pictures.box import mask_box
from tests.models.bodies import bent, blob, rays

CONFIG = NerfConfig(hidden=16, encoder_width=2, samples_per_ray=24, mesh_residual=True)
CAMERA = Camera("0000", np.array([[200.0, 0, 21.5], [0, 200, 57.5], [0, 0, 1]]), np.eye(4), 96, 64)


@pytest.mark.parametrize("prior", [SOFT, SHARP])
def test_density_falls_from_solid_to_empty_through_the_surface(prior: MeshPrior) -> None:
    skin, solid, empty = prior.skin, prior.solid, prior.empty
    distance = torch.tensor([-1.0, -skin, -skin / 2, 0.0, skin / 2, skin, 1.0])
    expected = torch.tensor([solid, solid, solid / 2, 0.0, empty / 2, empty, empty])
    assert torch.allclose(prior.density(distance), expected)


def pattern() -> Tensor:
    """(3, 128, 128): squares of all colors under a ramp; no symmetry maps it to itself."""
    coarse = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(3))
    ramp = torch.linspace(0, 1, 128)
    fine = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return 0.6 * fine + 0.2 * ramp + torch.tensor([0.2, 0.1, 0.0])[:, None, None] * ramp[:, None]


def make(config: NerfConfig = CONFIG) -> Nerf:
    torch.manual_seed(0)
    return Nerf(config, Body.from_rig(blob(3)), DataConfig(texture_size=32)).eval()


def seen(nerf: Nerf, texture: Tensor) -> Tensor:
    """The radiance field's picture, 2 x 2 rays a pixel."""
    with torch.no_grad():
        return nerf.picture(nerf.encode(nerf.body.pose(bent()), texture), CAMERA, supersample=2).colors


def mesh(texture: Tensor, supersample: int = 2) -> tuple[Tensor, Tensor]:
    """The textured mesh's picture, and its coverage."""
    posed = Body.from_rig(blob(3)).pose(bent())
    surface = Surface(posed.body.faces, len(posed.vertices))
    color, _, coverage = textured_mesh(posed, texture, CAMERA, surface, supersample)
    return color, coverage


def photograph() -> tuple[Tensor, Callable[[Tensor], float], Callable[[Tensor], float]]:
    """A picture of the same body in another light, and PSNR and SSIM against it in the body's box."""
    color, coverage = mesh(pattern(), supersample=6)
    light = torch.tensor([0.75, 0.8, 0.9])
    target = color * light * coverage[..., None] + color * (1 - coverage[..., None])
    box = mask_box(coverage > 0)
    assert box is not None and coverage.mean() > 0.1
    return target, *(lambda picture, m=m: m(box.crop(picture), box.crop(target)) for m in (psnr, ssim))  # type: ignore[return-value]


def test_the_first_picture_is_the_textured_mesh() -> None:
    _, decibels, similarity = photograph()
    nerf, texture = make(), pattern()
    color, coverage = mesh(texture)
    found = seen(nerf, texture)
    box = mask_box(coverage > 0)
    assert box is not None
    assert decibels(found) > decibels(color) - 0.5 and similarity(found) > similarity(color) - 0.02
    assert psnr(box.crop(found), box.crop(color)) > 32


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t.flip(1),
        lambda t: t.flip(2),
        lambda t: t.flip(1, 2),
        lambda t: t.transpose(1, 2),
        lambda t: t.flip(0),
        lambda t: torch.nn.functional.avg_pool2d(t, 8).repeat_interleave(8, 1).repeat_interleave(8, 2).roll(4, 2),
    ],
    ids=["upside down", "mirrored", "rotated", "transposed", "channels", "averaged"],
)
def test_a_spoiled_map_would_be_noticed(spoil: Callable[[Tensor], Tensor]) -> None:
    _, decibels, _ = photograph()
    nerf, texture = make(), pattern()
    color, _ = mesh(texture)
    assert decibels(seen(nerf, spoil(texture).contiguous())) < decibels(color) - 0.5


def test_the_encoder_s_size_does_not_blur_the_first_picture() -> None:
    color, coverage = mesh(pattern())
    box = mask_box(coverage > 0)
    assert box is not None
    soft = seen(make(replace(CONFIG, mesh_prior="soft", guided_samples=True)), pattern())
    assert psnr(box.crop(seen(make(), pattern())), box.crop(color)) > psnr(box.crop(soft), box.crop(color)) + 6


def test_a_few_steps_raise_the_score_above_the_mesh() -> None:
    target, decibels, _ = photograph()
    nerf, texture = make(), pattern()
    before = decibels(seen(nerf, texture))
    optimizer = optim.adam(nerf.parameters(), OptimConfig(lr=3e-3))
    posed, generator = nerf.body.pose(bent()), torch.Generator().manual_seed(0)
    _, coverage = mesh(texture)
    near = torch.nn.functional.max_pool2d(coverage[None, None], 5, 1, 2).flatten().nonzero()[:, 0].numpy()
    random = np.random.default_rng(0)
    nerf.train()
    for _ in range(30):
        chosen = random.choice(near, 256)
        origins, directions = (torch.tensor(r).float() for r in CAMERA.rays(CAMERA.pixel_grid()[chosen]))
        found = nerf(posed, texture, origins, directions, generator=generator)
        optimizer.zero_grad()
        losses.photometric(found.colors, target.reshape(-1, 3)[chosen] * 2 - 1).backward()
        optimizer.step()
    after = decibels(seen(nerf.eval(), texture))
    assert after > before + 1 and after > decibels(mesh(texture)[0]) + 1


def test_every_layer_learns_after_the_first_steps() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, hidden=8, samples_per_ray=8, shell_radius=0.2)
    nerf = Nerf(config, Body.from_rig(blob())).train()
    optimizer = torch.optim.Adam(nerf.parameters(), 1e-2)
    texture = torch.rand(3, 32, 32)
    origins, directions = rays(64, torch.float32)
    for _ in range(4):
        optimizer.zero_grad()
        nerf(nerf.body.pose(bent()), texture, origins, directions).colors.square().sum().backward()
        optimizer.step()
    still = [name for name, p in nerf.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not still


def test_the_stored_map_s_color_is_an_input_of_the_color_mlp() -> None:
    sharp, soft = make(), make(replace(CONFIG, mesh_prior="soft"))
    assert sharp.field.color_input.in_features == soft.field.color_input.in_features + 3


def test_parity_refuses_it() -> None:
    with pytest.raises(ValueError, match="mesh_residual"):
        replace(CONFIG, parity=True)
    with pytest.raises(ValueError, match="guided_samples"):
        NerfConfig(guided_samples=True, parity=True)
