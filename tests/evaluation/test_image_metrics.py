"""PSNR and SSIM against the original's numbers and loops; LPIPS against a naive float64 reference."""

from pathlib import Path

import numpy as np
import pytest
import torch

from na_ray.evaluation import image_metrics
from na_ray.evaluation.image_metrics import Lpips
from na_ray.pictures.box import Box, mask_box

PARITY = np.load(Path(__file__).parents[1] / "data" / "parity" / "metrics.npz")


@pytest.mark.parametrize("k", [0, 1])
def test_psnr_and_ssim_are_the_originals(k):
    image, target = (torch.from_numpy(PARITY[f"{name}{k}"]) for name in ("pred", "target"))
    assert image_metrics.psnr(image, target) == pytest.approx(float(PARITY[f"psnr{k}"]), abs=1e-5)
    assert image_metrics.ssim(image, target) == pytest.approx(float(PARITY[f"ssim{k}"]), abs=1e-5)


def naive_ssim(x, y):
    values = []
    for r in range(x.shape[0] - 6):
        for c in range(x.shape[1] - 6):
            for channel in range(x.shape[2]):
                a, b = (p[r : r + 7, c : c + 7, channel].ravel() for p in (x, y))
                (sxx, sxy), (_, syy) = np.cov(a, b)
                mx, my = a.mean(), b.mean()
                part = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4)
                values.append(part / ((mx * mx + my * my + 1e-4) * (sxx + syy + 9e-4)))
    return np.mean(values)


def test_ssim_equals_the_sum_over_windows():
    x, y = np.random.default_rng(0).random((2, 11, 9, 3))
    assert image_metrics.ssim(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(naive_ssim(x, y), abs=1e-12)
    assert image_metrics.ssim(torch.from_numpy(x), torch.from_numpy(x)) == pytest.approx(1, abs=1e-12)


def test_psnr_of_a_known_error_and_of_equal_pictures():
    x = torch.full((8, 8, 3), 0.5)
    assert image_metrics.psnr(x, x + 0.1) == pytest.approx(20, abs=1e-5)
    assert image_metrics.psnr(x, x) == pytest.approx(100)


def test_pictures_too_small_are_refused_in_one_line():
    small = torch.zeros(6, 40, 3)
    with pytest.raises(ValueError, match=r"at least 7x7 pixels, this one has \(6, 40\)"):
        image_metrics.ssim(small, small)
    with pytest.raises(ValueError, match=r"at least 31x31 pixels"):
        Lpips()(small, small)


def test_boxes_bound_the_mask_and_scale_outwards():
    mask = torch.zeros(20, 30)
    mask[3:7, 11] = 255
    box = mask_box(mask)
    assert box == Box(3, 11, 7, 12)
    assert box.scaled(0.5, 0.5) == Box(1, 5, 4, 6)
    assert box.scaled(2.0, 2.0) == Box(6, 22, 14, 24)
    assert box.crop(torch.zeros(20, 30, 3)).shape == (4, 1, 3)
    assert mask_box(torch.zeros(4, 4)) is None


def write_weights(folder, seed=0):
    """Files with the names, keys and shapes of the published ones, and random numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {"classifier.6.bias": torch.zeros(1000)}
    for k, (out, into, side) in shapes.items():
        state[f"features.{k}.weight"] = torch.randn(out, into, side, side, generator=generator) / side / into**0.5
        state[f"features.{k}.bias"] = torch.randn(out, generator=generator) * 0.1
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1, generator=generator)
        for i, c in enumerate((64, 192, 384, 256, 256))
    }
    torch.save(state, folder / "alexnet-owt-test.pth")
    torch.save(heads, folder / "alex.pth")
    return state, heads


def convolve(x, weight, bias, stride, pad):
    """Cross-correlation of (c, h, w) with (o, c, k, k), one output pixel at a time."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    height, width = ((n - k) // stride + 1 for n in x.shape[1:])
    out = np.empty((len(weight), height, width))
    for r in range(height):
        for c in range(width):
            window = x[:, r * stride : r * stride + k, c * stride : c * stride + k]
            out[:, r, c] = np.tensordot(weight, window, axes=3) + bias
    return out


def pool(x):
    height, width = ((n - 3) // 2 + 1 for n in x.shape[1:])
    rows = [[x[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max((1, 2)) for c in range(width)] for r in range(height)]
    return np.array(rows).transpose(2, 0, 1)


def naive_lpips(a, b, state, heads):
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x, y = ((((2 * p - 1) - shift) / scale).transpose(2, 0, 1) for p in (a, b))
    total = 0.0
    for i, (k, stride, pad) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
        x, y = (pool(p) if i in (1, 2) else p for p in (x, y))
        weight, bias = (state[f"features.{k}.{name}"].double().numpy() for name in ("weight", "bias"))
        x, y = (np.maximum(convolve(p, weight, bias, stride, pad), 0) for p in (x, y))
        u, v = (p / (np.sqrt((p**2).sum(0)) + 1e-10) for p in (x, y))
        head = heads[f"lin{i}.model.1.weight"].double().numpy().ravel()
        total += np.mean(np.tensordot(head, (u - v) ** 2, axes=1))
    return total


def test_lpips_equals_the_naive_network(tmp_path, monkeypatch):
    state, heads = write_weights(tmp_path)
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(tmp_path))
    model = image_metrics.load_lpips()
    a, b = np.random.default_rng(1).random((2, 39, 34, 3))
    expected = naive_lpips(a, b, state, heads)
    assert expected > 0.01
    assert float(model.double()(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(expected, rel=1e-6)
    assert float(model(torch.from_numpy(a), torch.from_numpy(a))) == 0
    assert not any(p.requires_grad for p in model.parameters())


def test_lpips_without_weights_is_missing_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)
    with pytest.raises(FileNotFoundError, match=r"NA_RAY_WEIGHTS is not set; set it to a folder with .*alexnet\*.pth"):
        image_metrics.load_lpips()
    write_weights(tmp_path)
    (tmp_path / "alex.pth").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no alex\.pth"):
        image_metrics.load_lpips(tmp_path)


def test_lpips_refuses_other_files(tmp_path):
    _, heads = write_weights(tmp_path)
    torch.save(heads | {"lin2.model.1.weight": torch.zeros(1, 5, 1, 1)}, tmp_path / "alex.pth")
    with pytest.raises(ValueError, match=r"alex\.pth: lin2\.model\.1\.weight has shape \(1, 5, 1, 1\), expected"):
        image_metrics.load_lpips(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "alexnet-owt-test.pth")
    with pytest.raises(ValueError, match=r"no tensor 'features\.0\.weight'"):
        image_metrics.load_lpips(tmp_path)
