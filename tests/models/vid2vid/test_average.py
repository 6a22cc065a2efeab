import copy

import torch

from na_ray.models.vid2vid.average import Average
from na_ray.models.vid2vid.blocks import Convolution, folded


def test_a_copy_first_then_the_formula():
    torch.manual_seed(0)
    network = torch.nn.Sequential(Convolution(2, 3, spectral=True)).double()
    average = Average(network, beta=0.9, start=2)
    expected = None
    for step in range(1, 6):
        with torch.no_grad():
            network[0].weight += torch.randn_like(network[0].weight)
            network[0].bias += 1
        network(torch.randn(1, 2, 4, 4, dtype=torch.float64))  # moves u and v
        current = folded(network)
        beta = 0.0 if step <= 2 or expected is None else 0.9
        expected = current if beta == 0 else {k: beta * expected[k] + (1 - beta) * current[k] for k in current}
        average.update(network)
        assert average.updates == step
        for name, value in average.weights.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-12, atol=0)
    assert set(average.weights) == {"0.weight", "0.bias"}


def test_an_average_goes_on_where_it_stopped():
    network = torch.nn.Sequential(Convolution(2, 3, spectral=True))
    average = Average(network, beta=0.9, start=1)
    for _ in range(3):
        with torch.no_grad():
            network[0].bias += 1
        average.update(network)
    kept, other = copy.deepcopy(average.weights), Average(network, beta=0.9, start=1)
    other.load(kept, 3)
    with torch.no_grad():
        network[0].bias += 1
    for a in (average, other):
        a.update(network)
    assert all(torch.equal(value, other.weights[name]) for name, value in average.weights.items())
    assert other.updates == 4


def test_a_copy_shares_no_memory_with_the_network():
    network = torch.nn.Sequential(Convolution(2, 3, spectral=False))
    average = Average(network, beta=0.9, start=5)
    average.update(network)
    before = average.weights["0.bias"].clone()
    with torch.no_grad():
        network[0].bias += 1
    assert torch.equal(average.weights["0.bias"], before)
