import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from na_ray.config import TextureConfig
from na_ray.models.optim import predictor_adam
from na_ray.models.vid2vid import losses
from na_ray.models.vid2vid.discriminator import Discriminator
from na_ray.models.vid2vid.generator import Generator
from na_ray.models.vid2vid.iteration import Flows, Networks, iterate
from na_ray.models.vid2vid.perceptual import LaplacianPyramid
from tests.models.vid2vid.tiny import CONFIG, enliven, window

TEXTURE = TextureConfig(parity=True, shared_step_count=True)


def networks(texture: TextureConfig = TEXTURE, dtype: torch.dtype = torch.float64, bfloat16: bool = False) -> Networks:
    torch.manual_seed(0)
    generator, discriminator = enliven(Generator(CONFIG)), enliven(Discriminator(CONFIG))
    networks = generator.to(dtype).train(), discriminator.to(dtype).train()
    assert isinstance(networks[0], Generator) and isinstance(networks[1], Discriminator)
    rates = (texture.lr_generator, texture.lr_discriminator)
    optimizers = [predictor_adam(n.parameters(), lr, texture) for n, lr in zip(networks, rates, strict=True)]
    return Networks(*networks, LaplacianPyramid().to(dtype), *optimizers, texture, bfloat16)


def by_hand(game: Networks, labels: torch.Tensor, images: torch.Tensor) -> list[dict[str, float]]:
    """The same, frame by frame, with every update written out."""
    generator, discriminator = game.generator, game.discriminator
    record, fakes = [], []
    for t in range(labels.shape[1]):
        start = max(0, t - 2)
        recent = torch.stack(fakes[start:], dim=1) if fakes else images[:, :0]
        made = generator(labels[:, t], labels[:, start:t], recent)
        history = torch.stack(fakes[-6:], dim=1) if fakes else images[:, :0]
        inputs = (images[:, max(0, t - 6) : t], history)
        said = discriminator(labels[:, t], images[:, t], made.image.detach(), *inputs)
        d = losses.discriminator_loss(said.image)
        d = d + sum(losses.discriminator_loss(v) for v in said.temporal.values())
        parameters = [p for p in discriminator.parameters() if p.requires_grad]
        update(game.discriminator_optimizer, parameters, d)
        said = discriminator(labels[:, t], images[:, t], made.image, *inputs)
        g = 10 * game.perceptual(made.image, images[:, t])
        for output in (said.image, *said.temporal.values()):
            g = g + losses.generator_loss(output.fake.logits)
            g = g + 10 * losses.feature_matching(output.fake, output.real)
        if made.warped is not None:
            still = torch.zeros_like(images[:, t, :2])
            c = ((images[:, t] - images[:, t - 1]).square().sum(1, keepdim=True) < 0.02).double()
            target = losses.FlowTarget(still, c)
            g = g + 10 * sum(losses.flow_losses(made, images[:, t], target, parity=True).values())
        update(game.generator_optimizer, list(generator.parameters()), g)
        record.append({"D/total": float(d.detach()), "G/total": float(g.detach())})
        fakes.append(made.image.detach())
    return record


def update(optimizer: torch.optim.Optimizer, parameters: list, loss: torch.Tensor) -> None:
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def test_a_window_is_the_updates_written_out():
    labels, images = window(4), window(4, seed=1)
    ours, theirs = networks(), networks()
    record, _ = iterate(ours, labels, images)
    for found, expected in zip(record, by_hand(theirs, labels, images), strict=True):
        assert {name: float(found[name]) for name in expected} == pytest.approx(expected, rel=1e-9)
    pairs = ((ours.generator, theirs.generator), (ours.discriminator, theirs.discriminator))
    for a, b in pairs:
        for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-9, err_msg=name)


def test_losses_appear_with_the_frames_that_have_them():
    record, fakes = iterate(networks(), window(7), window(7, seed=1))
    assert fakes.shape == (1, 7, 3, *CONFIG.resolution) and not fakes.requires_grad
    first = {"D/gan", "D/total", "G/gan", "G/feature_matching", "G/perceptual", "G/total"}
    flow = {"G/flow_l1", "G/flow_warp", "G/flow_mask", "D/gan_t0", "G/gan_t0", "G/feature_matching_t0"}
    assert [set(frame) - first for frame in record] == [
        *[set()] * 2,
        *[flow] * 4,
        flow | {"D/gan_t1", "G/gan_t1", "G/feature_matching_t1"},
    ]


def test_no_gradient_crosses_a_frame():
    game, labels, images = networks(), window(3), window(3, seed=1)
    seen = []
    game.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[2].requires_grad))
    game.discriminator.register_forward_pre_hook(lambda _, x: seen.append(x[3].requires_grad or x[4].requires_grad))
    iterate(game, labels, images)
    assert len(seen) == 9 and not any(seen)


def test_the_discriminator_learns_only_in_its_own_update():
    game = networks()
    iterate(game, window(1), window(1, seed=1))
    kept = {name: p.grad.clone() for name, p in game.bare_discriminator.named_parameters() if p.grad is not None}
    assert kept and all(p.requires_grad for p in game.bare_discriminator.parameters())
    state = game.discriminator_optimizer.state
    for name, p in game.bare_discriminator.named_parameters():
        if name in kept:  # beta1 = 0: the first moment is the gradient of the last update
            assert torch.equal(state[p]["exp_avg"], kept[name])


def test_flow_targets_from_files_are_those_of_the_frame():
    labels, images = window(3), window(3, seed=1)
    flow, confidence = (
        torch.randn(1, 3, 2, *CONFIG.resolution).double(),
        torch.rand(1, 3, 1, *CONFIG.resolution).double(),
    )
    kept = {}
    game = networks(replace(TEXTURE, flow_target="file", flow_folder="given"))
    game.generator.register_forward_hook(lambda _, __, made: kept.update(made=made))
    record, _ = iterate(game, labels, images, Flows(flow, confidence))
    made = kept["made"]
    expected = (confidence[:, 2] * (made.flow.detach() - flow[:, 2]).abs()).mean()
    assert float(record[2]["G/flow_l1"]) == pytest.approx(float(expected), rel=1e-9)
    without, _ = iterate(networks(replace(TEXTURE, flow_target="none")), labels, images)
    assert "G/flow_l1" not in without[2] and "G/flow_warp" in without[2]


def test_weights_of_zero_leave_losses_out():
    game = networks(replace(TEXTURE, perceptual_weight=0.0, flow_weight=0.0))
    record, _ = iterate(game, window(3), window(3, seed=1))
    assert not [name for name in record[2] if "flow" in name or "perceptual" in name]


def test_bfloat16_stays_finite_and_the_losses_are_float32():
    game = networks(dtype=torch.float32, bfloat16=True)
    labels, images = (window(3, dtype=torch.float32, seed=s) for s in (0, 1))
    record, fakes = iterate(game, labels, images)
    assert torch.isfinite(fakes).all() and fakes.dtype == torch.float32
    for frame in record:
        for name, value in frame.items():
            assert torch.isfinite(value) and value.dtype == torch.float32, name
    assert all(torch.isfinite(p).all() for p in [*game.generator.parameters(), *game.bare_discriminator.parameters()])


def test_a_window_from_a_saved_state_goes_on_bit_exactly():
    labels, images = window(2), window(2, seed=1)
    game, other = networks(), networks()
    iterate(game, labels, images)
    for name in ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer"):
        getattr(other, name).load_state_dict(copy.deepcopy(getattr(game, name).state_dict()))
    for g in (game, other):
        iterate(g, labels, images)
    for a, b in ((game.generator, other.generator), (game.discriminator, other.discriminator)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_each_window_of_a_step_counts_the_same_where_workers_have_unlike_numbers():
    labels, images = (torch.cat([window(1, seed=s + k) for s in range(3)]) for k in (0, 10))

    def gradients(chosen: list[int], weight: float) -> dict[str, torch.Tensor]:
        game = replace(networks(), weight=weight)
        iterate(game, labels[chosen], images[chosen])
        return {n: p.grad for n, p in game.discriminator.named_parameters() if p.grad is not None}

    whole = gradients([0, 1, 2], 1.0)
    # Two workers, whose gradients are averaged: two of the three windows, and one.
    some, rest = gradients([0, 2], 2 * 2 / 3), gradients([1], 1 * 2 / 3)
    for name, gradient in whole.items():
        torch.testing.assert_close((some[name] + rest[name]) / 2, gradient, rtol=1e-9, atol=1e-12)
