import copy
import math

import pytest
import torch

from na_ray import optim
from na_ray.config import OptimConfig

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
