import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from na_ray.models.vid2vid.blocks import Convolution, SpadeBlock, folded, initialize, modulation
from na_ray.models.vid2vid.embed import Embedder
from na_ray.original.names import from_original
from tests.models.vid2vid.tiny import DATA, enliven, tensor


def block() -> SpadeBlock:
    """The original's up_4."""
    module = SpadeBlock(16, 16, [16], spectral=True).double()
    keys = [name for name in DATA.files if name.startswith("G/up_4.")]
    named = {str(from_original(key.removeprefix("G/"))): tensor(key) for key in keys}
    module.load_state_dict({name.removeprefix("up.4."): value for name, value in named.items()})
    return module


def test_a_block_gives_the_originals_numbers():
    x = F.interpolate(tensor("eval/block/t0/up_5"), scale_factor=2.0)
    found = block().eval()(x, [tensor("eval/cond/label_t0/level4")])
    np.testing.assert_allclose(found.detach(), DATA["eval/block/t0/up_4"], atol=5e-6)


def test_one_use_in_training_moves_u_and_v_as_in_the_original():
    module = block().train()
    module(torch.randn(1, 16, 4, 8, dtype=torch.float64), [torch.randn(1, 16, 4, 8, dtype=torch.float64)])
    state, prefix = module.state_dict(), "train/uv_after_t0/"
    names = [name for name in DATA.files if name.startswith(prefix)]
    assert len(names) == 4
    for name in names:
        ours = str(from_original(name.removeprefix(prefix))).removeprefix("up.4.")
        np.testing.assert_allclose(state[ours], DATA[name], atol=1e-6)
        assert np.abs(DATA[f"G/{name.removeprefix(prefix)}"] - DATA[name]).max() > 1e-4, "it should move"


@pytest.mark.parametrize("skips", [False, True])
def test_embedders_are_the_naive_ones_with_and_without_skips(skips):
    embedder = Embedder(2, (3, 4, 5), skips=skips, spectral=False).double()
    x = torch.randn(1, 2, 8, 12, dtype=torch.float64)

    def layer(module: Convolution, values: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return F.leaky_relu(F.conv2d(values, module.weight, module.bias, stride, 1), 0.2)

    e0 = layer(embedder.stem, x)
    e1 = layer(embedder.down[0], e0, 2)
    e2 = layer(embedder.down[1], e1, 2)
    d1 = layer(embedder.up[1], e2.repeat_interleave(2, 2).repeat_interleave(2, 3))
    d0 = layer(
        embedder.up[0], (torch.cat([d1, e1], 1) if skips else d1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    for found, expected in zip(embedder(x), (d0, d1, e2), strict=True):
        np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-12)


def test_power_iteration_is_the_formula_and_its_gradient_holds_u_and_v_still():
    conv = Convolution(3, 4, spectral=True).double().train()
    u = conv.u.numpy().copy()
    matrix = conv.weight.detach().numpy().reshape(4, -1)
    v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
    u = matrix @ v / np.linalg.norm(matrix @ v)
    sigma = u @ matrix @ v
    out = conv.scaled_weight()
    np.testing.assert_allclose(out.detach().flatten(1), matrix / sigma, rtol=1e-12)
    np.testing.assert_allclose(conv.u, u, rtol=1e-12)
    np.testing.assert_allclose(conv.v, v, rtol=1e-12)
    cotangent = torch.randn_like(out)
    (out * cotangent).sum().backward()
    c = cotangent.flatten(1).numpy()
    expected = c / sigma - (c * matrix).sum() / sigma**2 * np.outer(u, v)
    assert conv.weight.grad is not None
    np.testing.assert_allclose(conv.weight.grad.flatten(1), expected, rtol=1e-9, atol=1e-12)


def test_many_uses_find_the_spectral_norm_and_evaluation_moves_nothing():
    conv = Convolution(3, 4, spectral=True).double().train()
    for _ in range(300):
        conv.scaled_weight()
    largest = torch.linalg.svdvals(conv.weight.detach().flatten(1))[0]
    np.testing.assert_allclose(conv.scaled_weight().detach(), conv.weight.detach() / largest, rtol=1e-6)
    before = conv.eval().u.clone()
    conv(torch.randn(1, 3, 5, 5, dtype=torch.float64))
    assert torch.equal(conv.u, before)


@pytest.mark.parametrize("small", [(4, 6), (8, 12), (16, 24)])
def test_modulation_is_a_convolution_of_the_nearest_pixels(small):
    layer = Convolution(3, 10, 1, padding=0, spectral=False).double()
    condition = torch.randn(2, 3, *small, dtype=torch.float64)
    scale, shift = modulation(layer, condition, (8, 12))
    rows, columns = (torch.arange(n) * k // n for n, k in zip((8, 12), small, strict=True))
    nearest = condition[:, :, rows][:, :, :, columns]
    both = torch.einsum("oi,biyx->boyx", layer.weight[:, :, 0, 0], nearest) + layer.bias[:, None, None]
    np.testing.assert_allclose(scale.detach(), 1 + both[:, :5].detach(), atol=1e-12)
    np.testing.assert_allclose(shift.detach(), both[:, 5:].detach(), atol=1e-12)


def naive_spade(x: torch.Tensor, layers: list, maps_: list[torch.Tensor]) -> torch.Tensor:
    """Normalization and modulations, one channel after the other."""
    x = x.clone()
    for b in range(x.shape[0]):
        for c in range(x.shape[1]):
            values = x[b, c]
            x[b, c] = (values - values.mean()) / torch.sqrt(values.var(correction=0) + 1e-5)
    for layer, condition in zip(layers, maps_, strict=False):
        both = F.conv2d(condition, layer.weight, layer.bias)
        gamma, beta = both[:, : x.shape[1]], both[:, x.shape[1] :]
        x = x * (1 + gamma) + beta
    return x


@pytest.mark.parametrize("given", [1, 2])
def test_a_block_is_the_naive_one_with_one_map_and_with_two(given):
    module = enliven(SpadeBlock(3, 5, [2, 4], spectral=False)).double()
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    conditions = [torch.randn(2, c, 6, 7, dtype=torch.float64) for c in (2, 4)][:given]

    def conv(part, values):
        return F.conv2d(values, part.conv.weight, part.conv.bias, padding=part.conv.padding)

    with torch.no_grad():
        hidden = conv(module.first, F.leaky_relu(naive_spade(x, module.first.spade, conditions), 0.2))
        main = conv(module.second, F.leaky_relu(naive_spade(hidden, module.second.spade, conditions), 0.2))
        expected = main + conv(module.skip, naive_spade(x, module.skip.spade, conditions))
        np.testing.assert_allclose(module(x, conditions), expected, atol=1e-11)


def test_folded_weights_convolve_as_the_spectral_ones():
    spectral = enliven(Embedder(3, (4, 5), skips=False, spectral=True)).double().eval()
    plain = Embedder(3, (4, 5), skips=False, spectral=False).double()
    plain.load_state_dict(folded(spectral))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    for a, b in zip(spectral(x), plain(x), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-12)


def test_recomputed_activations_give_the_same_gradients_and_the_same_u():
    torch.manual_seed(1)
    kept = enliven(SpadeBlock(3, 5, [2], spectral=True)).double().train()
    recomputed = copy.deepcopy(kept)
    recomputed.recompute = True
    x, condition = torch.randn(1, 3, 6, 7, dtype=torch.float64), torch.randn(1, 2, 6, 7, dtype=torch.float64)
    for module in (kept, recomputed):
        module(x, [condition]).square().sum().backward()
    for (name, a), b in zip(kept.named_parameters(), recomputed.parameters(), strict=True):
        assert a.grad is not None and torch.equal(a.grad, b.grad), name
    assert torch.equal(kept.first.conv.u, recomputed.first.conv.u)


def test_start_values():
    torch.manual_seed(0)
    plain, spectral = (Convolution(50, 60, spectral=s) for s in (False, True))
    before = spectral.weight.detach().clone()
    initialize(torch.nn.ModuleList([plain, spectral]))
    assert float(plain.weight.detach().std()) == pytest.approx(0.02 * (2 / (9 * 110)) ** 0.5, rel=0.02)
    assert torch.equal(spectral.weight.detach(), before), "the original's routine does not reach these"
    assert float(before.abs().max()) == pytest.approx((9 * 50) ** -0.5, rel=0.01)
    assert not plain.bias.detach().any() and not spectral.bias.detach().any()
