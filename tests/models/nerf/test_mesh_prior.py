"""With `mesh_residual` training starts from the posed mesh and its texture, and learns what they lack."""

from dataclasses import replace

import pytest
import torch

from na_ray.body.body import Body
from na_ray.body.surface import Surface
from na_ray.config import NerfConfig
from na_ray.models.nerf.field import EMPTY, SKIN, SOLID, mesh_density
from na_ray.models.nerf.renderer import Nerf
from tests.models.bodies import bent, blob, rays

CONFIG = NerfConfig(hidden=8, encoder_width=2, samples_per_ray=64, shell_radius=0.2, mesh_residual=True)


def test_density_falls_from_solid_to_empty_through_the_surface() -> None:
    distance = torch.tensor([-1.0, -SKIN, -SKIN / 2, 0.0, SKIN / 2, SKIN, 1.0])
    expected = torch.tensor([SOLID, SOLID, SOLID / 2, 0.0, EMPTY / 2, EMPTY, EMPTY])
    assert torch.allclose(mesh_density(distance), expected)


def test_the_first_picture_is_the_mesh_in_the_texture_s_color() -> None:
    torch.manual_seed(0)
    nerf = Nerf(CONFIG, Body.from_rig(blob(3))).eval()
    posed = nerf.body.pose(bent())
    rgb = torch.tensor([0.2, 0.6, 0.4])
    origins, directions = rays(200, torch.float32)
    with torch.no_grad():
        seen = nerf(posed, rgb[:, None, None].expand(3, 32, 32), origins, directions)
    surface = Surface(posed.body.faces, len(posed.vertices))
    surface.refit(posed.world_vertices)
    face, depth, _ = surface.intersect(origins, directions)
    transmittance = seen.transmittance[:, None]
    assert torch.allclose(seen.colors, (1 - transmittance) * (2 * rgb - 1) + transmittance * 1.0, atol=1e-5)
    assert (seen.transmittance[face < 0] > 0.99).all()
    solid = (face >= 0) & (seen.transmittance < 0.01)
    assert solid.sum() > 10
    assert (seen.depths - depth)[solid].abs().median() < 0.03


def test_every_layer_learns_after_the_first_steps() -> None:
    torch.manual_seed(0)
    nerf = Nerf(replace(CONFIG, samples_per_ray=8), Body.from_rig(blob())).train()
    optimizer = torch.optim.Adam(nerf.parameters(), 1e-2)
    texture = torch.rand(3, 32, 32)
    origins, directions = rays(64, torch.float32)
    for _ in range(4):
        optimizer.zero_grad()
        nerf(nerf.body.pose(bent()), texture, origins, directions).colors.square().sum().backward()
        optimizer.step()
    still = [name for name, p in nerf.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert not still


def test_parity_refuses_it() -> None:
    with pytest.raises(ValueError, match="mesh_residual"):
        replace(CONFIG, parity=True)
