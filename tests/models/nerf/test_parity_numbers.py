"""Numbers of the original implementation (a float64 run), copied from the parity fixtures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.config import OptimConfig
from na_ray.models import losses, optim
from na_ray.models.nerf.compositing import composite
from na_ray.models.nerf.encoding import PositionalEncoding
from na_ray.models.nerf.sampling import sample_along_rays

DATA = np.load(Path(__file__).parents[2] / "data" / "parity" / "models.npz")


def tensor(name: str) -> torch.Tensor:
    return torch.tensor(DATA[name], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "octaves", "scale"), [("local", 6, 1.0), ("density_pos", 6, np.pi), ("ray", 4, np.pi)]
)
def test_encodings(name, octaves, scale):
    encoding = PositionalEncoding(octaves, scale).double()
    np.testing.assert_allclose(encoding.frequencies, DATA[f"posenc_emb_{name}"], atol=1e-5)
    encoding.frequencies.copy_(tensor(f"posenc_emb_{name}"))
    np.testing.assert_allclose(encoding(tensor("posenc_input")), DATA[f"posenc_{name}"], atol=1e-9)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_samples(mode):
    jitter = tensor("jitter") if mode == "train" else None
    depths, lengths = sample_along_rays(tensor("near"), tensor("far"), 64, jitter)
    np.testing.assert_allclose(depths, DATA[f"{mode}_depth"], atol=1e-6)
    np.testing.assert_allclose(lengths, DATA[f"{mode}_dist"], atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_compositing(dtype, tolerance):
    energy, lengths = tensor("render_free_energy"), tensor("render_sample_dist")
    inputs = (energy / lengths, tensor("render_sample_color"), tensor("render_sample_depth"), lengths)
    seen = composite(*(x.to(dtype) for x in inputs), torch.ones(3, dtype=dtype), 5.0)
    for name, stored in (("colors", "colors"), ("depths", "depths"), ("transmittance", "missed")):
        np.testing.assert_allclose(getattr(seen, name), DATA[f"render_{stored}"], atol=tolerance)


def test_learning_rates():
    for k, lr in DATA["lr_table"]:
        assert optim.learning_rate(OptimConfig(), int(k) - 1, parity=True) == pytest.approx(lr, abs=1e-12)


def test_photometric_loss():
    loss = losses.photometric(tensor("loss_pred"), tensor("loss_target"))
    assert float(loss) == pytest.approx(float(DATA["loss"]), rel=1e-9)


def test_adam_follows_three_updates_of_the_original():
    config, known = OptimConfig(), torch.tensor(DATA["adam_index"] >= 0)
    # The first update has learning rate 0: what is there after it was there before.
    parameter = torch.nn.Parameter(tensor("adam_after0")[known])
    optimizer = optim.adam([parameter], config, parity=True)
    for step in range(3):
        optim.set_learning_rate(optimizer, optim.learning_rate(config, step, parity=True))
        parameter.grad = tensor(f"adam_grad{step}")[known]
        optimizer.step()
        np.testing.assert_allclose(parameter.detach(), tensor(f"adam_after{step}")[known], atol=1e-9)
