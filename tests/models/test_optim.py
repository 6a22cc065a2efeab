import copy
import io
import math

import pytest
import torch

from na_ray.config import OptimConfig, TextureConfig
from na_ray.models import optim

CONFIG = OptimConfig(lr=1e-2, eps=1e-3, decay_rate=0.1, decay_steps=100)


def test_learning_rate_decays_exponentially_from_the_first_step():
    rates = [optim.learning_rate(CONFIG, step) for step in (0, 50, 100, 200)]
    assert rates == pytest.approx([1e-2, 1e-2 * math.sqrt(0.1), 1e-3, 1e-4])


def test_parity_starts_with_nothing():
    assert optim.learning_rate(CONFIG, 0, parity=True) == 0
    assert optim.learning_rate(CONFIG, 1, parity=True) == optim.learning_rate(CONFIG, 1)


def updates(parity: bool, steps: int) -> tuple[torch.Tensor, list[float]]:
    """Our optimizer and a naive loop on the same gradients of one number."""
    parameter = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = optim.adam([parameter], CONFIG, parity)
    expected, m, v, (b1, b2) = 1.0, 0.0, 0.0, CONFIG.betas
    for t in range(1, steps + 1):
        gradient = math.sin(t)
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        corrected = math.sqrt(1 - b2**t)
        epsilon = CONFIG.eps if parity else CONFIG.eps * corrected
        expected -= CONFIG.lr * corrected / (1 - b1**t) * m / (math.sqrt(v) + epsilon)
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return parameter.detach(), [expected]


@pytest.mark.parametrize("parity", [False, True])
def test_adam_is_the_formula(parity):
    found, expected = updates(parity, 7)
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_the_two_epsilons_differ():
    assert updates(True, 3)[0] != updates(False, 3)[0]


@pytest.mark.parametrize("parity", [False, True])
def test_the_state_survives_saving(parity):
    def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        parameter.grad = parameter.detach().cos()
        optimizer.step()

    first = torch.nn.Parameter(torch.arange(3.0))
    optimizer = optim.adam([first], CONFIG, parity)
    step(first, optimizer)
    second = torch.nn.Parameter(first.detach().clone())
    other = optim.adam([second], CONFIG, parity)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(first, optimizer)
    step(second, other)
    assert torch.equal(first, second)


def test_parameters_without_a_gradient_stay():
    parameter = torch.nn.Parameter(torch.ones(2))
    optim.adam([parameter], CONFIG, parity=True).step()
    assert parameter.tolist() == [1, 1]


def test_set_learning_rate():
    optimizer = optim.adam([torch.nn.Parameter(torch.ones(2))], CONFIG)
    optim.set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]


def shared(parameters: list[torch.nn.Parameter], lr: float = 0.01) -> torch.optim.Adam:
    return optim.predictor_adam(parameters, lr, TextureConfig(shared_step_count=True))


def late_first_step(make) -> float:
    """Length of the first step of a parameter whose first gradient comes with the third update."""
    early, late = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = make([early, late])
    for t in range(3):
        early.grad = torch.ones_like(early)
        late.grad = torch.full_like(late, 0.5) if t == 2 else None
        optimizer.step()
    return -float(late.detach()) / 0.01


def test_a_late_parameter_takes_a_longer_first_step_where_the_count_is_shared():
    # beta1 = 0: the step is lr g / (sqrt(v / (1 - 0.999^t)) + eps) with v = 0.001 g^2.
    assert late_first_step(shared) == pytest.approx(((1 - 0.999**3) / 0.001) ** 0.5, rel=1e-6)
    assert late_first_step(shared) == pytest.approx(1.731, abs=1e-3)
    alone = late_first_step(lambda p: optim.predictor_adam(p, 0.01, TextureConfig()))
    assert alone == pytest.approx(1.0, rel=1e-6)


def test_updates_without_any_gradient_count_too():
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = shared([parameter])
    for gradient in (None, torch.ones(2), None, torch.ones(2)):
        parameter.grad = gradient
        optimizer.step()
    assert optimizer.param_groups[0]["shared_step"] == 4
    assert float(optimizer.state[parameter]["step"]) == 4


def test_the_shared_count_survives_saving_bit_by_bit():
    torch.manual_seed(0)
    first = [torch.nn.Parameter(torch.randn(3)) for _ in range(2)]
    optimizer = shared(first)

    def step(parameters: list[torch.nn.Parameter], optimizer: torch.optim.Adam, both: bool) -> None:
        for k, p in enumerate(parameters):
            p.grad = p.detach().sin() if both or k == 0 else None
        optimizer.step()

    step(first, optimizer, both=False)
    second = [torch.nn.Parameter(p.detach().clone()) for p in first]
    other = shared(second)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    for both in (True, False, True):
        step(first, optimizer, both)
        step(second, other, both)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
