"""What neighbors share, against bilinear look-ups texel by texel in float64."""

import numpy as np
import pytest
import torch

from na_ray.models.splats.coarse import CHANNELS, Coarse


def weights(texel: int, side: int, small: int) -> np.ndarray:
    """(small, small): how much of each coarse place a texel takes; places beyond the border are the border's."""
    result = np.zeros((small, small))
    y, x = ((c + 0.5) * small / side - 0.5 for c in divmod(texel, side))
    for row in range(-1, small + 1):
        for column in range(-1, small + 1):
            share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(x - column))
            result[min(max(row, 0), small - 1), min(max(column, 0), small - 1)] += share
    return result


@pytest.mark.parametrize(("side", "factor"), [(32, 8), (48, 4), (16, 16), (16, 1), (20, 8)])
def test_values_and_gradients_are_bilinear(side: int, factor: int) -> None:
    rng = np.random.default_rng(0)
    index = np.sort(rng.permutation(side * side)[: side * side // 2])
    coarse = Coarse(torch.from_numpy(index), side, factor)
    assert (coarse() == 0).all() and coarse().shape == (CHANNELS, len(index))
    small = side // factor
    table = np.stack([weights(int(texel), side, small).reshape(-1) for texel in index])
    assert np.allclose(table.sum(1), 1)
    values, grads = rng.normal(size=(small * small, CHANNELS)), rng.normal(size=(CHANNELS, len(index)))
    with torch.no_grad():
        coarse.values.copy_(torch.from_numpy(values))
    found = coarse()
    np.testing.assert_allclose(found.detach().numpy(), (table @ values).T, atol=1e-5)
    found.backward(torch.from_numpy(grads).float())
    assert coarse.values.grad is not None
    np.testing.assert_allclose(coarse.values.grad.numpy(), table.T @ grads.T, atol=1e-4)
