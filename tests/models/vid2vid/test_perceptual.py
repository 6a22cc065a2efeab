import numpy as np
import pytest
import torch
import torch.nn.functional as F

from na_ray.config import TextureConfig
from na_ray.models.vid2vid import perceptual
from na_ray.models.vid2vid.perceptual import DEPTHS, LAYER_WEIGHTS, LaplacianPyramid, Vgg19, load_perceptual


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NA_RAY_WEIGHTS", raising=False)


def tiny_vgg() -> Vgg19:
    torch.manual_seed(0)
    return Vgg19((2, 3, 4, 5, 6)).double()


def test_features_are_those_after_the_first_relu_of_each_stage():
    vgg, picture = tiny_vgg(), torch.rand(1, 3, 32, 48, dtype=torch.float64) * 2 - 1
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.tensor(((picture.numpy() + 1) / 2 - mean[:, None, None]) / deviation[:, None, None])
    convs = iter([layer for layer in vgg.features if isinstance(layer, torch.nn.Conv2d)])
    expected = []
    for stage, depth in enumerate(DEPTHS):
        x = F.max_pool2d(x, 2) if stage else x
        for k in range(depth if stage < 4 else 1):
            conv = next(convs)
            x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1))
            if k == 0:
                expected.append(x)
    for a, b in zip(vgg.compute_features(picture), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_distance_weighs_deep_features_most_and_teaches_only_the_picture():
    vgg = tiny_vgg()
    picture, target = (torch.rand(1, 3, 32, 32, dtype=torch.float64).requires_grad_() for _ in range(2))
    found = vgg(picture, target)
    found.backward()
    pairs = zip(vgg.compute_features(picture), vgg.compute_features(target), LAYER_WEIGHTS, strict=True)
    expected = sum(w * float((a - b).detach().abs().mean()) for a, b, w in pairs)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)
    assert picture.grad is not None and target.grad is None
    assert not any(p.requires_grad for p in vgg.parameters())
    assert LAYER_WEIGHTS == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)


def test_the_pyramid_is_the_naive_one():
    a, b = (torch.rand(1, 3, 16, 24, dtype=torch.float64) for _ in range(2))
    row = np.array([1, 4, 6, 4, 1]) / 16
    rest, expected = (a - b).numpy()[0], 0.0
    for _ in range(3):  # 16 -> 8 -> 4 -> 2: what is smaller than 4 is not halved again
        padded = np.pad(rest, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        height, width = rest.shape[1] // 2, rest.shape[2] // 2
        coarse = np.empty((3, height, width))
        for y in range(height):
            for x in range(width):
                patch = padded[:, 2 * y : 2 * y + 5, 2 * x : 2 * x + 5]
                coarse[:, y, x] = np.einsum("cij,i,j->c", patch, row, row)
        up = F.interpolate(torch.tensor(coarse)[None], rest.shape[1:], mode="bilinear")[0].numpy()
        expected += np.abs(rest - up).mean()
        rest = coarse
    expected += np.abs(rest).mean()
    assert float(LaplacianPyramid().double()(a, b)) == pytest.approx(expected, rel=1e-9)


def test_the_pyramid_is_zero_for_equal_pictures_and_sees_a_shift_of_brightness_once():
    picture = torch.rand(2, 3, 32, 32)
    assert float(LaplacianPyramid()(picture, picture)) == 0
    assert float(LaplacianPyramid()(picture, picture + 0.1)) == pytest.approx(0.1, rel=1e-4)


def published(tmp_path, widths=(2, 3, 4, 5, 6), **changes: object) -> str:
    """A file in torchvision's layout, with the parts that are not used."""
    state = dict(Vgg19(widths).state_dict()) | {
        "classifier.0.weight": torch.zeros(2, 2),
        "features.30.weight": torch.zeros(1),
        "features.34.bias": torch.zeros(1),
    }
    for name, value in changes.items():
        state.pop(name.replace("__", "."), None)
        if value is not None:
            state[name.replace("__", ".")] = value
    torch.save(state, tmp_path / "vgg19-test.pth")
    return str(tmp_path / "vgg19-test.pth")


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    # The published widths are 80 MB: the same code reads narrow ones.
    monkeypatch.setattr(perceptual, "Vgg19", lambda: Vgg19((2, 3, 4, 5, 6)))


@pytest.mark.usefixtures("_small")
def test_weights_load_from_a_named_file_and_from_the_folder_of_weights(tmp_path, monkeypatch):
    path = published(tmp_path)
    named, told = load_perceptual(TextureConfig(perceptual="vgg19", vgg_weights=path))
    assert isinstance(named, Vgg19) and path in told
    monkeypatch.setenv("NA_RAY_WEIGHTS", str(tmp_path))
    found, told = load_perceptual(TextureConfig())
    assert isinstance(found, Vgg19) and "VGG-19" in told
    expected = torch.load(path, weights_only=True)
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features__5__weight": None}, "no tensor 'features.5.weight'"),
        ({"features__5__weight": torch.zeros(9, 2, 3, 3)}, "'features.5.weight' has shape (9, 2, 3, 3)"),
        ({"features__99__weight": torch.zeros(1)}, "unknown tensor 'features.99.weight'"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path, changes, message):
    with pytest.raises(ValueError, match=r"vgg19-test\.pth") as error:
        load_perceptual(TextureConfig(vgg_weights=published(tmp_path, **changes)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_substitute_is_said_and_absent_weights_are_one_line(tmp_path):
    network, told = load_perceptual(TextureConfig())
    assert isinstance(network, LaplacianPyramid) and "no VGG-19 weights" in told
    network, told = load_perceptual(TextureConfig(perceptual="pyramid"))
    assert isinstance(network, LaplacianPyramid) and "needs no weights" in told
    for config, message in (
        (TextureConfig(perceptual="vgg19"), "no VGG-19 weights"),
        (TextureConfig(vgg_weights=str(tmp_path / "none.pth")), "no such file"),
    ):
        with pytest.raises(FileNotFoundError, match=message) as error:
            load_perceptual(config)
        assert "\n" not in str(error.value) and "pyramid" in str(error.value)
    with pytest.raises(ValueError, match="drop one"):
        load_perceptual(TextureConfig(perceptual="pyramid", vgg_weights="x.pth"))


def test_the_pyramid_is_never_in_half_precision():
    generator = torch.Generator().manual_seed(0)
    image, target = (torch.rand(1, 3, 96, 80, generator=generator) for _ in range(2))
    exact = LaplacianPyramid()(image, target)
    with torch.autocast("cpu", torch.bfloat16):
        found = LaplacianPyramid()(image, target)
    assert found.dtype == torch.float32 and torch.equal(found, exact)
    half = LaplacianPyramid()(image.bfloat16(), target.bfloat16())
    assert torch.equal(half, LaplacianPyramid()(image.bfloat16().float(), target.bfloat16().float()))
