import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from na_ray.body.body import Body
from na_ray.config import DataConfig, NerfConfig
from na_ray.models.nerf.compositing import composite
from na_ray.models.nerf.renderer import Nerf, Noise
from na_ray.models.nerf.sampling import sample_along_rays
from tests.models import naive
from tests.models.bodies import bent, blob, rays

SMALL = NerfConfig(hidden=8, encoder_width=2, samples_per_ray=5, shell_radius=0.2, samples_per_chunk=16)


def make(config: NerfConfig = SMALL, dtype: torch.dtype = torch.float64, data: DataConfig | None = None) -> Nerf:
    torch.manual_seed(0)
    nerf = Nerf(config, Body.from_rig(blob()), data)
    if nerf.field.deformation is not None:
        torch.nn.init.normal_(nerf.field.deformation.residual.weight, std=0.1)
    torch.nn.init.constant_(nerf.field.density.bias, 3.0)
    return nerf.to(dtype).eval()


def texture(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def naive_sample(
    nerf: Nerf, features: np.ndarray, point: np.ndarray, direction: np.ndarray
) -> tuple[float, np.ndarray]:
    """Density and color at a world point, by the formulas; zero beyond the shell unless everything is evaluated."""
    body, pose = nerf.body, bent()
    joints, vertices, faces, weights, tpose = (
        np.asarray(x, np.float64) for x in (pose.joints_RT, body.vertices, body.faces, body.weights, body.tpose)
    )
    faces = faces.astype(int)
    homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
    moved = np.einsum("vj,jrc,vc->vr", weights, joints, homogeneous)[:, :3]
    rotation = pose.rotation.astype(np.float64)
    local = (point - pose.translation.astype(np.float64)) @ rotation.T
    face, barycentrics, on_surface = naive.closest(local, moved, faces)
    offset = local - on_surface
    config = nerf.config
    if np.linalg.norm(offset) > config.shell_radius and config.skip_empty and not config.parity:
        return 0.0, np.zeros(3)
    a, b, c = moved[faces[face]]
    sign = 1 if offset @ np.cross(b - a, c - a) >= 0 else -1
    uv = barycentrics @ body.uv.numpy()[body.uv_faces[face]]
    blend = barycentrics @ weights[faces[face]]
    there, back = np.einsum("j,jrc->rc", blend, joints), np.einsum("j,jrc->rc", blend, tpose)
    canonical = (back @ np.linalg.inv(there) @ [*local, 1])[:3]
    surface = np.array([2 * uv[0] - 1, 2 * uv[1] - 1, sign * np.linalg.norm(offset)])
    state = {name: value.numpy() for name, value in nerf.field.state_dict().items()}
    return naive.field(state, surface, canonical, direction, naive.bilinear(features, uv))


@pytest.mark.parametrize(
    "changes", [{}, {"parity": True}, {"deformation": False, "skip_empty": False}, {"shell_radius": 0.06}]
)
def test_forward_is_the_formulas_sample_by_sample(changes):
    nerf = make(replace(SMALL, **changes))
    posed, (origins, directions) = nerf.body.pose(bent()), rays(5)
    with torch.no_grad():
        found = nerf(posed, texture(), origins, directions)
        near, far, hit = nerf.intervals(posed, origins, directions)
        features = naive.pyramid([latent[0].numpy() for latent in nerf.encoder(texture())])
    assert hit.any()
    # The original's epsilons move its closest points a little.
    tolerance = 1e-4 if nerf.config.parity else 1e-6
    depths, lengths = sample_along_rays(near, far, SMALL.samples_per_ray)
    skipped = 0
    for i in hit.nonzero()[:, 0]:
        points = origins[i].numpy() + depths[i, :, None].numpy() * directions[i].numpy()
        samples = [naive_sample(nerf, features, p, directions[i].numpy()) for p in points]
        skipped += sum(sigma == 0 for sigma, _ in samples)
        sigma, colors = torch.tensor([s for s, _ in samples]), torch.tensor(np.stack([c for _, c in samples]))
        row = slice(i, i + 1)
        expected = composite(sigma[None], colors[None], depths[row], lengths[row], nerf.background, 5.0)
        np.testing.assert_allclose(found.colors[row], expected.colors, atol=tolerance)
        np.testing.assert_allclose(found.depths[row], expected.depths, atol=tolerance)
        np.testing.assert_allclose(found.transmittance[row], expected.transmittance, atol=tolerance)
    assert (skipped > 0) == (changes == {"shell_radius": 0.06})


def test_rays_that_miss_see_the_background_and_cost_nothing():
    nerf = make(data=DataConfig(background=(0.5, 0.0, -1.0)))
    origins, directions = rays(4)
    directions[1] = torch.tensor([1.0, 0, 0])
    seen = nerf(nerf.body.pose(bent()), texture(), origins, directions)
    assert not seen.hit[1]
    assert torch.equal(seen.colors[1], torch.tensor([0.5, 0.0, -1.0]).double())
    assert (seen.transmittance[1].item(), seen.depths[1].item()) == (1.0, 5.0)


def test_a_batch_of_misses_still_has_gradients():
    nerf = make().train()
    seen = nerf(nerf.body.pose(bent()), texture(), torch.zeros(3, 3).double(), -rays(3)[1])
    assert not seen.hit.any()
    seen.colors.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in nerf.field.parameters())


def test_chunks_do_not_change_the_picture():
    origins, directions = rays(40)
    pictures = []
    for chunk in (6, 64, 100_000):
        nerf = make(replace(SMALL, samples_per_chunk=chunk))
        posed = nerf.body.pose(bent())
        with torch.no_grad():
            pictures.append(nerf(posed, texture(), origins, directions).colors)
        pictures.append(nerf(posed, texture(), origins, directions).colors.detach())
    for picture in pictures[1:]:
        np.testing.assert_allclose(picture, pictures[0], atol=1e-12)


def test_a_frame_and_intervals_may_be_given():
    nerf, (origins, directions) = make(), rays(8)
    posed = nerf.body.pose(bent())
    whole = nerf(posed, texture(), origins, directions)
    near, far, _ = nerf.intervals(posed, origins, directions)
    parts = nerf.march(nerf.encode(posed, texture()), origins, directions, near=near, far=far)
    assert torch.equal(whole.colors, parts.colors)


def test_training_noise_comes_from_the_generator():
    nerf = make().train()
    posed, scene = nerf.body.pose(bent()), rays(6)
    same = [nerf(posed, texture(), *scene, generator=torch.Generator().manual_seed(s)).colors for s in (3, 3, 4)]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], same[2])
    drawn = nerf.draw_noise(6, torch.Generator().manual_seed(3))
    assert torch.equal(nerf(posed, texture(), *scene, noise=drawn).colors, same[0])
    assert torch.equal(
        nerf(posed, texture(), *scene, noise=Noise()).colors, nerf(posed, texture(), *scene, Noise()).colors
    )


def test_gradients_agree_with_finite_differences():
    nerf = make().train()
    posed, (origins, directions) = nerf.body.pose(bent()), rays(6)

    def loss() -> torch.Tensor:
        return nerf(posed, texture(), origins, directions, Noise()).colors.square().sum()

    loss().backward()
    generator = torch.Generator().manual_seed(2)
    groups: dict[str, list[torch.nn.Parameter]] = {}
    for name, parameter in nerf.named_parameters():
        groups.setdefault(".".join(name.split(".")[:2]), []).append(parameter)
    for name, group in groups.items():
        moves = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in group]
        ends = []
        with torch.no_grad():
            for step in (1e-6, -2e-6):
                for parameter, move in zip(group, moves, strict=True):
                    parameter += step * move
                ends.append(loss().item())
            for parameter, move in zip(group, moves, strict=True):
                parameter += 1e-6 * move
        found = sum((p.grad * move).sum().item() for p, move in zip(group, moves, strict=True))
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=2e-3, abs=1e-5), name


def test_bfloat16_keeps_geometry_and_compositing_in_float32():
    nerf, (origins, directions) = make(dtype=torch.float32), rays(20, torch.float32)
    posed = nerf.body.pose(bent())
    exact = nerf(posed, texture(torch.float32), origins, directions)
    with torch.autocast("cpu", torch.bfloat16):
        rough = nerf(posed, texture(torch.float32), origins, directions)
        near, far, hit = nerf.intervals(posed, origins, directions)
    assert rough.colors.dtype == rough.depths.dtype == torch.float32
    assert torch.equal(rough.hit, exact.hit)
    assert all(map(torch.equal, (near, far, hit), nerf.intervals(posed, origins, directions)))
    assert 0 < (rough.colors - exact.colors).abs().max().item() < 0.3


def test_float32_is_close_to_float64():
    scene = rays(50)
    nerf = make()
    exact = nerf(nerf.body.pose(bent()), texture(), *scene)
    nerf = make(dtype=torch.float32)
    single = nerf(nerf.body.pose(bent()), texture(torch.float32), *rays(50, torch.float32))
    assert (exact.colors - single.colors).abs().median().item() < 1e-4


def test_the_state_dict_holds_weights_only_and_a_copy_renders_the_same():
    nerf, scene = make(), rays(5)
    assert not any("body" in name or "background" in name for name in nerf.state_dict())
    first = nerf(nerf.body.pose(bent()), texture(), *scene).colors
    copy = pickle.loads(pickle.dumps(nerf))
    assert torch.equal(copy(copy.body.pose(bent()), texture(), *scene).colors, first)


def test_initialization():
    torch.manual_seed(0)
    field = Nerf(NerfConfig(), Body.from_rig(blob())).field
    assert not field.deformation.residual.weight.any()
    assert not field.deformation.residual.bias.any()
    assert field.density.bias.item() == 0.5
    for layer in (field.color_input, field.shape[4], field.surface[1]):
        assert layer.weight.std().item() == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.02)
    assert field.color_input.in_features == 1051
    assert field.shape[4].in_features == 295
    assert sum(p.numel() for p in field.parameters()) == 1_386_503
