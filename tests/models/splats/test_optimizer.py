"""Learning rates, cut gradients and averaged weights, by plain loops of numbers."""

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch

from na_ray.models.splats.muon import LENGTH, MOMENTUM
from na_ray.models.splats.optimizer import MEMORY, MOST, SplatsOptimizer, StepNumbers, rate
from na_ray.models.splats.splats import Splats
from tests.models.splats.actors import SMALL, body_of, column_rig
from tests.models.splats.test_muon import reference


def test_the_rate_rises_stays_and_falls_as_a_cosine() -> None:
    config = replace(SMALL, warmup_steps=10, decay_start=0.5)
    assert [rate(config, s, 200) for s in (0, 4, 9, 50, 100)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert rate(config, 150, 200) == pytest.approx(0.01 + 0.99 * 0.5)
    assert rate(config, 200, 200) == pytest.approx(0.01)
    assert rate(replace(config, decay_start=1.0), 199, 200) == 1
    falling = [rate(config, s, 200) for s in range(100, 201)]
    assert all(a >= b for a, b in itertools.pairwise(falling))


def model(**knobs: object) -> Splats:
    torch.manual_seed(0)
    return Splats(replace(SMALL, **knobs), body_of(column_rig()))  # type: ignore[arg-type]


def give(splats: Splats, sizes: tuple[float, float], seed: int) -> list[torch.Tensor]:
    """Random gradients of the two groups, of these norms."""
    rng = torch.Generator().manual_seed(seed)
    for group, size in zip(SplatsOptimizer(splats, 1).groups, sizes, strict=True):
        for p in group:
            p.grad = torch.randn(*p.shape, generator=rng)
        length = math.sqrt(sum(float(p.grad.double().square().sum()) for p in group if p.grad is not None))
        for p in group:
            p.grad = p.grad * (size / length)
    return [p.grad for p in splats.parameters() if p.grad is not None]


def test_steps_are_adam_s_and_muon_s_with_cut_gradients_decay_and_averages() -> None:
    """A second model, updated by torch's Adam, its matrices by singular values, with gradients that are cut here."""
    splats, plain = model(), model()
    optimizer = SplatsOptimizer(splats, 8)
    texels, decoder = [plain.fixed, plain.changes, *plain.coarse.parameters()], list(plain.decoder.parameters())
    adam = torch.optim.Adam(
        [{"params": texels, "lr": 0.0, "eps": 1e-7}, {"params": decoder, "lr": 0.0, "eps": 1e-8}], betas=(0.9, 0.99)
    )
    matrices = [p for p in decoder if p.ndim == 4 and p.shape[0] > 1]
    momenta = [torch.zeros_like(p) for p in matrices]
    averages = [p.detach().clone() for p in (*texels, *decoder)]
    norms: list[float | None] = [None, None]
    for step, sizes in enumerate([(1.0, 3.0), (1.5, 30.0), (50.0, 3.0), (0.1, 0.0), (1.0, 1.0)]):
        give(splats, sizes, step)
        give(plain, sizes, step)
        factor = rate(SMALL, step, 8)
        for number, (group, size) in enumerate(zip((texels, decoder), sizes, strict=True)):
            before = norms[number]
            if before is None:
                norms[number] = size
                continue
            held = min(size, MOST * before)
            for p in group:
                if p.grad is not None and size:
                    p.grad *= held / size
            norms[number] = MEMORY * before + (1 - MEMORY) * held if size else before
        adam.param_groups[0]["lr"], adam.param_groups[1]["lr"] = factor * SMALL.lr_texels, factor * SMALL.lr_decoder
        with torch.no_grad():
            for p in decoder:
                p *= 1 - factor * SMALL.lr_decoder * SMALL.weight_decay
            for p, momentum in zip(matrices, momenta, strict=True):
                assert p.grad is not None
                momentum.lerp_(p.grad, 1 - MOMENTUM)
                ahead = p.grad.lerp(momentum, MOMENTUM).flatten(1)
                length = factor * SMALL.lr_decoder * LENGTH * max(ahead.shape) ** 0.5
                p -= (length * reference(ahead)).view_as(p)
                p.grad = None
        adam.step()
        optimizer.step(step)
        kept = min(SMALL.average, (1 + step) / (10 + step))
        averages = [kept * a + (1 - kept) * p.detach() for a, p in zip(averages, (*texels, *decoder), strict=True)]
    assert norms == pytest.approx(optimizer.norms.tolist(), rel=1e-5)
    for (name, a), b in zip(splats.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    for a, b in zip(optimizer.average, averages, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for p in splats.parameters())


def test_numbers_that_lie_on_the_device_make_the_same_step() -> None:
    """As a recorded update reads them."""
    splats, other = model(), model()
    optimizer, recorded = SplatsOptimizer(splats, 8), SplatsOptimizer(other, 8)
    for step in range(4):
        give(splats, (1.0, 2.0), step)
        give(other, (1.0, 2.0), step)
        optimizer.step(step)
        recorded.update(StepNumbers(*(torch.tensor(number) for number in recorded.numbers(step))))
    for a, b in zip(optimizer.average + optimizer.parameters, recorded.average + recorded.parameters, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    state = recorded.state()["adam"]["param_groups"]
    assert [type(group["lr"]) for group in state] == [float, float] and not any(g["capturable"] for g in state)


def test_training_begins_where_the_first_pictures_are_empty() -> None:
    """A body that the first pictures do not show: gradients of zero, which must not hold back those that follow."""
    splats = model()
    optimizer = SplatsOptimizer(splats, 50)
    give(splats, (1.0, 1.0), 0)
    for p in splats.parameters():
        assert p.grad is not None
        p.grad.zero_()
    optimizer.step(0)
    before = [p.detach().clone() for p in splats.parameters()]
    for step in range(1, 4):
        give(splats, (1.0, 1.0), step)
        optimizer.step(step)
    for (name, p), old in zip(splats.named_parameters(), before, strict=True):
        moved = (p.detach() - old).abs().max()
        assert torch.isfinite(p).all() and moved > 1e-4, name


def test_going_on_from_a_state_is_the_same_to_the_bit() -> None:
    splats = model()
    optimizer = SplatsOptimizer(splats, 9)
    for step in range(3):
        give(splats, (1.0, 1.0), step)
        optimizer.step(step)
    names = {id(p): name for name, p in splats.named_parameters()}
    weights = optimizer.averaged(splats.state_dict(), [names[id(p)] for p in optimizer.parameters])
    weights = {name: value.clone() for name, value in weights.items()}
    again = model()
    again.load_state_dict(weights)
    other = SplatsOptimizer(again, 9)
    other.load(copy.deepcopy(optimizer.state()))
    for step in range(3, 6):
        for one, its in ((splats, optimizer), (again, other)):
            give(one, (1.0, 2.0), step)
            its.step(step)
    for a, b in zip([*splats.parameters(), *optimizer.average], [*again.parameters(), *other.average], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(optimizer.norms, other.norms)


def test_a_run_from_before_muon_goes_on_with_adam_s_moments() -> None:
    splats = model()
    optimizer = SplatsOptimizer(splats, 9)
    before = torch.optim.Adam([{"params": group} for group in optimizer.groups], betas=(0.9, 0.99))
    give(splats, (1.0, 1.0), 0)
    before.step()
    state = optimizer.state() | {"adam": before.state_dict()}
    del state["momenta"]
    means = [before.state[w]["exp_avg"].clone() for w in optimizer.muon.weights]
    optimizer.load(copy.deepcopy(state))
    assert len(means) == 7 and all(map(torch.equal, optimizer.muon.momenta, means))
    give(splats, (1.0, 1.0), 1)
    optimizer.step(1)
    again = SplatsOptimizer(model(), 9)
    again.load(copy.deepcopy(optimizer.state()))
    assert all(map(torch.equal, again.muon.momenta, optimizer.muon.momenta))
