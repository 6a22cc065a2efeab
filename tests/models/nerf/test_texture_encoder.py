import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from na_ray.config import NerfConfig
from na_ray.models.nerf.field import RadianceField
from na_ray.models.nerf.texture_encoder import TextureEncoder, load_imagenet, lookup, resize_matrix
from tests.models.naive import bilinear, pyramid


def imagenet(width: int = 4) -> dict[str, torch.Tensor]:
    """A state dict with the names of a whole ResNet: also what is never run."""
    extra = {"fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10), "layer4.0.conv1.weight": torch.zeros(2, 2)}
    return TextureEncoder(width).state_dict() | extra


def test_resnet34_has_torchvisions_names_and_shapes():
    state = TextureEncoder().state_dict()
    assert len(state) == 6 * 29  # 29 convolutions, each with a batch normalization of five tensors
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert state["layer3.5.bn2.running_var"].shape == (256,)


def test_latents_halve_and_the_pyramid_has_all_channels():
    encoder = TextureEncoder(4).eval()
    latents = encoder(torch.rand(3, 64, 32))
    assert [tuple(x.shape[1:]) for x in latents] == [(4, 32, 16), (4, 16, 8), (8, 8, 4), (16, 4, 2)]
    assert pyramid([x[0].detach().numpy() for x in latents]).shape == (32, 16, 32)


def test_lookup_is_grid_sample_of_the_flipped_map_and_the_naive_sum():
    features = torch.randn(7, 5, 6, dtype=torch.float64)
    uv = torch.rand(200, 2, dtype=torch.float64) * 1.2 - 0.1
    grid = (2 * uv - 1)[None, :, None]
    flipped = features.flip(0).permute(2, 0, 1)[None]
    expected = F.grid_sample(flipped, grid, align_corners=False)[0, :, :, 0].T
    np.testing.assert_allclose(lookup(features, uv), expected, atol=1e-13)
    naive = np.stack([bilinear(features.numpy(), row) for row in uv.numpy()])
    np.testing.assert_allclose(lookup(features, uv), naive, atol=1e-13)


def test_lookup_has_the_right_gradient():
    features = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    uv = torch.rand(9, 2, dtype=torch.float64) * 1.2 - 0.1
    assert torch.autograd.gradcheck(lambda f: lookup(f, uv), features)


def test_imagenet_weights_load_by_name(tmp_path, caplog):
    weights = imagenet()
    torch.save(weights, tmp_path / "resnet.pt")
    encoder = TextureEncoder(4)
    with caplog.at_level(logging.INFO):
        load_imagenet(encoder, f"file://{tmp_path / 'resnet.pt'}")
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
    assert "resnet.pt" in caplog.text


def test_no_weights_keep_the_random_ones_and_say_so(caplog):
    encoder = TextureEncoder(4)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with caplog.at_level(logging.INFO):
        load_imagenet(encoder, "")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert "random" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("layer1.0.conv1.weight"), "no tensor 'layer1.0.conv1.weight'"),
        (lambda w: w.update({"layer1.9.conv1.weight": torch.zeros(1)}), "unknown tensor 'layer1.9.conv1.weight'"),
        (lambda w: w.update({"conv1.weight": torch.zeros(64, 3, 7, 7)}), "'conv1.weight' has shape (64, 3, 7, 7)"),
        (lambda w: w.update({"conv1.weight": 3}), "expected a state dict of tensors"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path, spoil, message):
    weights = imagenet()
    spoil(weights)
    torch.save(weights, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match="bad.pt") as error:
        load_imagenet(TextureEncoder(4), str(tmp_path / "bad.pt"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_absent_and_unreadable_files_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_imagenet(TextureEncoder(4), str(tmp_path / "none.pt"))
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk\.pt: cannot be read"):
        load_imagenet(TextureEncoder(4), str(tmp_path / "junk.pt"))


def test_bfloat16_features_are_resized_to_the_right_place():
    # A ramp resized is a ramp: the position itself, at any size.
    for size, to in ((128, 512), (33, 257)):
        matrix = resize_matrix(size, to, torch.zeros(1, dtype=torch.bfloat16))
        ramp = torch.arange(size, dtype=torch.float64)
        expected = torch.arange(to, dtype=torch.float64) * (size - 1) / (to - 1)
        np.testing.assert_allclose(matrix.double() @ ramp, expected, atol=1e-3)
        assert matrix.dtype == torch.float32
        assert resize_matrix(size, to, torch.zeros(1, dtype=torch.bfloat16)) is matrix
        assert resize_matrix(size, to, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


def test_a_matrix_made_in_inference_serves_training():
    with torch.inference_mode():
        resize_matrix(7, 19, torch.zeros(1))
    features = torch.rand(7, 3, requires_grad=True)
    (resize_matrix(7, 19, features) @ features).sum().backward()
    assert features.grad is not None


def test_the_projected_map_is_at_the_right_place_under_autocast():
    torch.manual_seed(0)
    field = RadianceField(NerfConfig(hidden=4, encoder_width=2), (2, 2, 4, 8))
    # Stripes one texel wide: half a texel off, black is gray.
    stripes = (torch.arange(256) % 2).float().expand(1, 2, 4, 256)
    latents = [torch.zeros(1, 2, 8, 512), stripes.contiguous(), torch.zeros(1, 4, 2, 128), torch.zeros(1, 8, 1, 64)]
    exact = field.project(latents, torch.zeros(3, 16, 1024))
    with torch.autocast("cpu", torch.bfloat16):
        rough = field.project(latents, torch.zeros(3, 16, 1024))
    assert ((rough.float() - exact).abs().amax() / exact.abs().amax()).item() < 0.03
