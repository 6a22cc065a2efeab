"""Inception-v3 against torchvision's own figures, and files that are not its weights."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_weights import FILE, light_state, published_shapes, random_state, write_weights

from na_ray.models.pretrained.inception import Inception, load_inception

# torchvision 0.20.1, `Inception3(transform_input=True)` in float64 with `random_state`, ImageNet-normalized `wave`
# interpolated to 299x299 with aligned corners: every 128th of the features that its classifier takes.
FIGURES = [0.0, 1.3277, 2.05652, 0.38277, 0.30455, 3.12341, 0.22709, 0.06633]
FIGURES += [1.85614, 2.02725, 0.02133, 0.26523, 0.34031, 0.0, 0.01444, 0.0]
MEAN, DEVIATION = 1.14559508, 1.48326078

PUBLISHED_PARAMETERS = 27_161_264
"""Of the whole network, both classifiers included, as torchvision documents it."""


def wave() -> torch.Tensor:
    """(1, 3, 40, 52): a picture that is neither square nor symmetric."""
    rows, columns, colors = np.mgrid[0:40, 0:52, 0:3]
    picture = 0.5 + 0.5 * np.sin(0.31 * rows + 0.17 * columns * (1 + colors))
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float()


def test_features_are_torchvisions(tmp_path: Path) -> None:
    write_weights(tmp_path, random_state())
    network = load_inception(tmp_path)
    features = network(wave())
    assert features.shape == (1, 2048) and not features.requires_grad
    assert features[0, ::128].numpy() == pytest.approx(np.array(FIGURES), abs=2e-5)
    assert float(features.mean()) == pytest.approx(MEAN, abs=1e-5)
    assert float(features.std(unbiased=False)) == pytest.approx(DEVIATION, abs=1e-5)


def test_the_state_dict_is_the_published_one() -> None:
    found = {name: tuple(value.shape) for name, value in Inception().state_dict().items()}
    counters = {name for name in found if name.endswith("bn.num_batches_tracked")}
    assert {name: shape for name, shape in found.items() if name not in counters} == published_shapes()
    assert len(counters) == 94
    learned = {name: shape for name, shape in published_shapes().items() if "running" not in name}
    classifier = 2048 * 1000 + 1000
    auxiliary = 768 * 128 + 2 * 128 + 128 * 768 * 25 + 2 * 768 + 768 * 1000 + 1000
    assert sum(map(math.prod, learned.values())) == PUBLISHED_PARAMETERS - classifier - auxiliary


def test_weights_come_from_the_named_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)
    with pytest.raises(FileNotFoundError) as absent:
        load_inception()
    expected = f"set it to a folder with torchvision's {FILE}"
    assert str(absent.value) == f"FID is left out: NA_RAY_WEIGHTS is not set; {expected}"
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError) as absent:
        load_inception()
    assert str(absent.value) == f"FID is left out: {tmp_path} has no inception_v3*.pth; {expected}"
    state = light_state()
    write_weights(tmp_path, state)
    loaded = load_inception().state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


NAME = "Mixed_7c.branch_pool.bn.bias"
OTHERS = {
    "missing": ({NAME: None}, f"no tensor {NAME!r}: expected the state dict of torchvision's Inception-v3"),
    "shape": ({NAME: torch.zeros(7)}, rf"{NAME!r} has shape \(7,\), expected \(192,\)"),
    "unknown": ({"Mixed_8a.bias": torch.zeros(1)}, "unknown tensor 'Mixed_8a.bias'"),
    "not finite": ({NAME: torch.full((192,), torch.nan)}, "holds numbers that are not finite: copy the file again"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_weights_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    changes, expected = OTHERS[name]
    state = light_state() | changes
    path = write_weights(tmp_path, {key: value for key, value in state.items() if value is not None})
    with pytest.raises(ValueError, match=expected) as caught:
        load_inception(tmp_path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="cannot be read as ImageNet weights") as caught:
        load_inception(tmp_path)
    assert "\n" not in str(caught.value)
