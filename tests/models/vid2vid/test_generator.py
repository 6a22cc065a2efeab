from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from na_ray.config import Vid2vidConfig
from na_ray.models.lighting import fit_light, local_light, relit
from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.blocks import folded
from na_ray.models.vid2vid.generator import Generated, Generator
from tests.models.vid2vid.tiny import CONFIG, enliven, window


def generator(**changes: object) -> Generator:
    torch.manual_seed(0)
    made = enliven(Generator(replace(CONFIG, **changes)))
    assert isinstance(made, Generator)
    return made.double()


def roll(network: Generator, labels: torch.Tensor, reuse: bool = False) -> list[Generated]:
    frames: list[Generated] = []
    for t in range(labels.shape[1]):
        recent = slice(max(0, t - 2), t)
        past = torch.stack([f.image.detach() for f in frames[recent]], dim=1) if t else None
        previous = frames[-1].embedding if reuse and frames else None
        frames.append(network(labels[:, t], labels[:, recent], past, previous))
    return frames


def test_the_first_two_frames_have_no_flow_and_later_ones_do():
    frames = roll(generator().eval(), window(4))
    assert [f.flow is None and f.mask is None and f.warped is None for f in frames] == [True, True, False, False]
    assert all(f.image.shape == (1, 3, 32, 64) and float(f.image.detach().abs().max()) <= 1 for f in frames)


def test_a_frame_depends_on_what_it_is_given_and_on_nothing_older():
    network, labels = generator().eval(), window(3)
    images = window(2, seed=1)
    with torch.no_grad():
        base = network(labels[:, 2], labels[:, :2], images).image
        for k in range(2):
            for which in ("label", "image"):
                past_labels, past_images = labels[:, :2].clone(), images.clone()
                (past_labels if which == "label" else past_images)[:, k] *= -1
                assert not torch.equal(network(labels[:, 2], past_labels, past_images).image, base), (k, which)
        longer = network(
            labels[:, 2], torch.cat([labels[:, :1], labels[:, :2]], 1), torch.cat([-images[:, :1], images], 1)
        )
    assert torch.equal(longer.image, base)


def test_a_kept_embedding_gives_the_same_frames():
    network, labels = generator().eval(), window(4)
    for a, b in zip(roll(network, labels), roll(network, labels, reuse=True), strict=True):
        assert torch.equal(a.image, b.image)


def test_training_uses_the_embedder_once_for_each_label():
    network = generator().train()
    before = network.label_embedder.stem.u.clone()
    stem = network.label_embedder.stem
    network(window(1)[:, 0])
    once = stem.u.clone()
    stem.u.copy_(before)
    labels = window(2)
    network(labels[:, 1], labels[:, :1], window(1, seed=1))
    twice = stem.u.clone()
    stem.u.copy_(once)
    stem.scaled_weight()
    assert not torch.equal(once, before) and torch.equal(stem.u, twice)


def test_the_folded_generator_predicts_the_same():
    network = generator().eval()
    plain = Generator(CONFIG, spectral=False).double()
    plain.load_state_dict(folded(network))
    with torch.no_grad():
        for a, b in zip(roll(network, window(3)), roll(plain.eval(), window(3)), strict=True):
            np.testing.assert_allclose(a.image, b.image, atol=1e-9)


def test_recomputing_activations_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        network = generator(activation_checkpointing=recompute).train()
        network(window(3)[:, 2], window(2), window(2, seed=1)).image.square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))


def test_published_sizes_have_the_published_number_of_parameters():
    with FakeTensorMode():
        network = Generator(Vid2vidConfig())
    assert sum(p.numel() for p in network.parameters()) == 226_920_294
    assert sum(b.numel() for b in network.buffers()) == 307_302


def test_a_map_of_another_size_is_one_line():
    with pytest.raises(ValueError, match="maps of 16x64 pixels: the generator works at 32x64") as error:
        generator()(torch.zeros(1, 3, 16, 64, dtype=torch.float64))
    assert "\n" not in str(error.value)


def test_residuals_start_from_the_mean_texture():
    torch.manual_seed(0)
    network = Generator(replace(CONFIG, mean_residual=True), spectral=False).eval()
    mean = torch.rand(3, *CONFIG.resolution) * 1.8 - 0.9
    network.start_from(mean)
    with torch.no_grad():
        # Start values are small: the picture is nearly the mean.
        np.testing.assert_allclose(network(window(1, dtype=torch.float32)[:, 0]).image[0], mean, atol=0.02)


def lit_generator(frames: int = 5) -> tuple[Generator, torch.Tensor, torch.Tensor]:
    """A network whose residual is zero, and maps that a light of 24 numbers made exactly: labels and images (f, 3, h,
    w) in [-1, 1]."""
    random = torch.Generator().manual_seed(0)
    labels = torch.nn.functional.normalize(torch.randn(frames, 3, *CONFIG.resolution, generator=random), dim=1)
    mean = 0.4 + 0.2 * torch.rand(3, *CONFIG.resolution, generator=random)
    light = 0.04 * torch.randn(8, 3, generator=random)
    z, y, x = labels.unbind(1)  # normal maps hold them in this order
    terms = torch.stack([x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], dim=1)
    images = mean * (1 + torch.einsum("kc,fkhw->fchw", light, terms - terms.mean(0)))
    network = Generator(replace(CONFIG, mean_residual=True, relit=True), spectral=False).eval()
    torch.nn.init.zeros_(network.head.weight)
    pairs = [(image.flatten(1), label.flip(0).flatten(1)) for image, label in zip(images, labels, strict=True)]
    found = fit_light(lambda: pairs)
    each = local_light(lambda: pairs, found, CONFIG.resolution).view(8, 3, *CONFIG.resolution)
    network.start_from_light(found[0].view_as(mean), found[1].view(8, *CONFIG.resolution), each)
    return network, labels, 2 * images - 1


def test_a_relit_base_is_exact_where_a_light_made_the_maps():
    network, labels, images = lit_generator()
    with torch.no_grad():
        torch.testing.assert_close(network(labels).image, images, atol=2e-4, rtol=0)
    unlit = images.mean(0).expand_as(images)
    assert float((unlit - images).abs().mean()) > 0.02, "the light matters"


def test_a_relit_base_survives_being_saved_and_may_be_averaged():
    network, labels, images = lit_generator()
    average = Average(network, 0.9, 0)
    for _ in range(3):
        average.update(network)
    other = Generator(network.config, spectral=False).eval()
    other.load_state_dict(average.weights)
    with torch.no_grad():
        torch.testing.assert_close(other(labels).image, images, atol=2e-4, rtol=0)


def test_a_relit_base_is_the_mean_where_normals_do_not_vary():
    torch.manual_seed(0)
    pairs = [(torch.rand(3, 6), torch.nn.functional.normalize(torch.ones(3, 6), dim=0)) for _ in range(4)]
    mean, basis, light = fit_light(lambda: pairs)
    torch.testing.assert_close(mean, torch.stack([image for image, _ in pairs]).mean(0))
    assert not relit(mean, basis, light, pairs[0][1]).any() and not light.any()
    assert not local_light(lambda: pairs, (mean, basis, light), (2, 3)).any()


def test_networks_without_a_light_have_the_tensors_that_they_had():
    plain, mean = (set(Generator(replace(CONFIG, mean_residual=m)).state_dict()) for m in (False, True))
    lit = set(Generator(replace(CONFIG, mean_residual=True, relit=True)).state_dict())
    assert mean - plain == {"base"} and lit - mean == {"basis", "light"} and plain < mean < lit


def test_a_light_needs_a_mean_to_shine_on():
    with pytest.raises(ValueError, match="relit"):
        replace(CONFIG, relit=True)


def test_bfloat16_gives_finite_frames_near_those_of_float32():
    network, labels = generator().float().train(), window(3, dtype=torch.float32)
    past = window(2, seed=1, dtype=torch.float32)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    exact = network(labels[:, 2], labels[:, :2], past)
    network.load_state_dict(state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(labels[:, 2], labels[:, :2], past)
    rough.image.float().square().mean().backward()
    assert rough.flow is not None and exact.flow is not None and torch.isfinite(rough.flow).all()
    assert float((rough.image - exact.image).detach().abs().mean()) < 0.1
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
