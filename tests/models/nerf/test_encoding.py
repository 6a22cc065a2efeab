import jaxtyping
import numpy as np
import pytest
import torch

from na_ray.models.nerf.encoding import PositionalEncoding
from tests.models.naive import encode


def test_order_and_values_are_those_of_the_formula():
    x = torch.randn(5, 3, dtype=torch.float64)
    encoding = PositionalEncoding(4, np.pi).double()
    expected = np.stack([encode(row, encoding.frequencies.numpy()) for row in x.numpy()])
    np.testing.assert_allclose(encoding(x), expected, atol=1e-14)
    assert encoding.size() == expected.shape[1] == 27


def test_no_octaves_leave_the_input():
    x = torch.randn(2, 3)
    assert torch.equal(PositionalEncoding(0)(x), x)


def test_a_wrong_shape_raises():
    with pytest.raises(jaxtyping.TypeCheckError):
        PositionalEncoding(2)(torch.randn(3))
