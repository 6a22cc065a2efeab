"""The light that texture maps show: found again where it is known."""

import torch
from torch import Tensor

from na_ray.models.lighting import COUNT, fit_light, harmonics, relit

TEXELS, FRAMES = 400, 40


def shown(noise: float = 0.0) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
    """(mean map, light, (map, normals) of frames) of a light that makes the maps, with the normals' mean harmonics."""
    rng = torch.Generator().manual_seed(0)
    mean, light = 0.2 + 0.6 * torch.rand(3, TEXELS, generator=rng), 0.1 * torch.randn(COUNT, 3, generator=rng)
    normals = [torch.nn.functional.normalize(torch.randn(3, TEXELS, generator=rng), dim=0) for _ in range(FRAMES)]
    basis = torch.stack([harmonics(n) for n in normals]).mean(0)
    maps = [mean * (1 + light.T @ (harmonics(n) - basis)) for n in normals]
    maps = [m + noise * torch.randn(3, TEXELS, generator=rng) for m in maps]
    return mean, light, list(zip(maps, normals, strict=True))


def test_harmonics_of_one_order_are_orthogonal_over_the_sphere() -> None:
    """And their means vanish: the constant is the mean map's."""
    rng = torch.Generator().manual_seed(1)
    normals = torch.nn.functional.normalize(torch.randn(3, 200000, generator=rng, dtype=torch.float64), dim=0)
    values = harmonics(normals)
    gram = values @ values.T / normals.shape[1]
    norms = gram.diag().sqrt()
    assert (gram / norms[:, None] / norms - torch.eye(COUNT)).abs().max() < 0.02
    assert values.mean(1).abs().max() < 0.01


def test_the_light_that_made_the_maps_is_found() -> None:
    mean, light, frames = shown()
    found, basis, fitted = fit_light(lambda: frames)
    torch.testing.assert_close(found, mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(fitted, light, rtol=0, atol=1e-4)
    for texture, normals in frames:
        torch.testing.assert_close(found + relit(found, basis, fitted, normals), texture, rtol=0, atol=1e-4)


def test_a_relit_map_is_nearer_than_the_mean_also_in_poses_unseen() -> None:
    _, _, frames = shown(noise=0.02)
    found, basis, fitted = fit_light(lambda: frames[:20])
    for texture, normals in frames[20:]:
        lit = (found + relit(found, basis, fitted, normals) - texture).square().mean()
        assert lit < 0.3 * (found - texture).square().mean()


def test_where_all_normals_agree_there_is_no_light() -> None:
    mean, _, frames = shown()
    still = [(mean + 0.1 * k, frames[0][1]) for k in range(5)]
    found, basis, fitted = fit_light(lambda: still)
    assert torch.isfinite(fitted).all() and fitted.abs().max() < 1e-6
    assert relit(found, basis, fitted, frames[0][1]).abs().max() < 1e-6
