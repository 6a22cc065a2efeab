"""The kernels against float64 loops, forward and backward, drawn one after the other and by tiles."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from na_ray.capture.camera import Camera
from na_ray.models.gaussians import Gaussians
from na_ray.models.splats.rasterize import draw
from na_ray.models.splats.views import PairRoom, Views
from na_ray.pictures.box import Box
from tests.models.splats import oracle

BLUR = 0.05
SIZE = (32, 40)


def camera(x: float = 0.0, skew: float = 1.5) -> Camera:
    """2.5 m away, a little to the side, with skewed pixels."""
    T = np.eye(4)
    T[:3, 3] = x, 0.1 * x, -2.5
    return Camera(f"at {x}", np.array([[60, skew, 20.2], [0, 62, 15.1], [0, 0, 1]]), T, *SIZE)


def scene(count: int, scale: float, opacity: tuple[float, float], seed: int = 0) -> list[torch.Tensor]:
    """Random Gaussians in a ball of half a metre, rounded to float32: (means, ..., changes)."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=rng)

    low, high = opacity
    frames = torch.linalg.qr(normal(count, 3, 3))[0].contiguous()
    opacities = low + (high - low) * torch.rand(count, generator=rng)
    return [0.5 * normal(count, 3), scale * normal(count, 3, 3), opacities, normal(count, 3), frames, normal(9, count)]


def drawn(tensors: list[torch.Tensor], cameras: list[Camera], path: str, windows=None):
    views = Views.of(cameras, np.zeros(3), torch.device("cpu"))
    if windows is not None:
        places = [[b.left, b.top, b.right - b.left, b.bottom - b.top] for b in windows]
        size = (max(p[3] for p in places), max(p[2] for p in places))
        views = replace(views, windows=torch.tensor(places, dtype=torch.int32), size=size)
    return draw(Gaussians(*tensors), views, BLUR, path=path)


@contextlib.contextmanager
def same_bits() -> Iterator[None]:
    """Sums in a fixed order, as torch's own switch asks for."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


CASES = {
    "one": scene(1, 0.05, (0.3, 0.9)),
    "few and large": scene(6, 0.4, (0.3, 0.9)),
    "many": scene(200, 0.04, (0.02, 0.98)),
    "tiny": scene(200, 1e-4, (0.5, 0.98)),
    "huge": scene(12, 3.0, (0.05, 0.5)),
    "faint": scene(60, 0.1, (0.004, 0.01)),
    "opaque": scene(60, 0.1, (0.99, 1.0)),
    "behind and beside": [5 * t if i == 0 else t for i, t in enumerate(scene(100, 0.1, (0.2, 0.9)))],
    "needles": [t * torch.tensor([1, 1e-3, 1e-3]) if i == 1 else t for i, t in enumerate(scene(80, 0.3, (0.3, 0.9)))],
}


@pytest.mark.parametrize("path", ["scan", "tiles", "tiles, in a fixed order"])
@pytest.mark.parametrize("case", CASES)
def test_pictures_and_gradients_are_those_of_the_float64_loop(case, path):
    path, _, ordered = path.partition(", ")
    cameras = [camera(0.0), camera(0.4), camera(-0.3, skew=0.0)]
    exact = [t.double().requires_grad_() for t in CASES[case]]
    reference = oracle.draw(exact, cameras, BLUR)
    rng = torch.Generator().manual_seed(1)
    sure = ~reference.unsure
    assert reference.unsure.float().mean() < 0.03, "hardly a pixel hangs on a cut-off"
    by_color = torch.randn(*reference.colors.shape, generator=rng) * sure[..., None]
    by_passing = torch.randn(*reference.passing.shape, generator=rng) * sure
    ((reference.colors * by_color).sum() + (reference.passing * by_passing).sum()).backward()

    fast = [t.clone().requires_grad_() for t in CASES[case]]
    with same_bits() if ordered else contextlib.nullcontext():
        found = drawn(fast, cameras, path)
        ((found.colors * by_color).sum() + (found.transmittance * by_passing).sum()).backward()

    # Colors go to 4 here: relative to that.
    scale = max(1.0, float(reference.colors.detach().abs().max()))
    assert ((found.colors - reference.colors).abs()[sure] / scale).max() < 1e-5
    assert (found.transmittance - reference.passing).abs()[sure].max() < 1e-5
    for name, a, b in zip(("means", "factors", "opacities", "colors", "frames", "changes"), fast, exact, strict=True):
        assert a.grad is not None and b.grad is not None
        error = (a.grad - b.grad).abs().max() / b.grad.abs().max().clamp(min=1e-12)
        assert error < (1e-4 if case == "one" else 3e-5), f"{name}: {error:.1e}"


def test_one_splat_is_its_closed_form():
    focal, depth, sigma = 60.0, 2.5, 0.1
    one = [torch.zeros(1, 3), sigma * torch.eye(3)[None], torch.tensor([0.8]), torch.ones(1, 3)]
    seen = Camera("front", np.array([[focal, 0, 20.0], [0, focal, 15.0], [0, 0, 1]]), camera().T_world_camera, *SIZE)
    T = seen.T_world_camera.copy()
    T[:2, 3] = 0
    seen = Camera("front", seen.K, T, *SIZE)
    found = drawn([*one, torch.eye(3)[None], torch.zeros(9, 1)], [seen], "scan")
    deviation = math.sqrt((focal * sigma / depth) ** 2 + BLUR)
    for row, column in ((15, 20), (15, 23), (12, 20), (18, 24)):
        distance = math.hypot(row - 15, column - 20)
        alpha = oracle.closed_form_pixel(0.8, distance, deviation)
        assert found.colors[0, row, column, 0] == pytest.approx(alpha, rel=1e-5)
        assert found.transmittance[0, row, column] == pytest.approx(1 - alpha, rel=1e-5)


def test_the_nearer_of_two_hides_the_farther():
    for order in ((0, 1), (1, 0)):
        means = torch.tensor([[0.0, 0, -0.5], [0.0, 0, 0.5]])[list(order)]
        colors = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[list(order)]
        tensors = [means, 0.3 * torch.eye(3).repeat(2, 1, 1), torch.tensor([0.9, 0.9]), colors]
        tensors += [torch.eye(3).repeat(2, 1, 1), torch.zeros(9, 2)]
        found = drawn(tensors, [camera()], "scan").colors[0, 15, 20]
        assert found[0] > 0.85
        assert found[1] < 0.12


@pytest.mark.parametrize("path", ["scan", "tiles"])
def test_a_window_shows_the_part_of_the_picture(path):
    tensors, cameras = CASES["many"], [camera(0.0), camera(0.4)]
    whole = drawn(tensors, cameras, path)
    boxes = [Box(3, 5, 20, 38), Box(10, 0, 32, 17)]
    parts = drawn(tensors, cameras, path, boxes)
    for k, box in enumerate(boxes):
        height, width = box.bottom - box.top, box.right - box.left
        torch.testing.assert_close(parts.colors[k, :height, :width], box.crop(whole.colors[k]), rtol=0, atol=1e-6)
        assert (parts.transmittance[k, height:] == 1).all()
        assert (parts.transmittance[k, :, width:] == 1).all()


def test_a_picture_is_the_same_to_the_bit_each_time():
    def once():
        tensors = [t.clone().requires_grad_(i != 4) for i, t in enumerate(CASES["many"])]
        found = drawn(tensors, [camera(0.0), camera(0.2)], "scan")
        found.colors.square().sum().backward()
        return [found.colors.detach(), *(t.grad for t in tensors if t.grad is not None)]

    for first, second in zip(once(), once(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("fixed", [False, True])
def test_room_for_pairs_that_is_larger_changes_nothing_and_too_little_is_told(fixed):
    cameras = [camera(0.0), camera(0.4)]

    def once(capacity):
        tensors = [t.clone().requires_grad_(i != 4) for i, t in enumerate(CASES["many"])]
        views = Views.of(cameras, np.zeros(3), torch.device("cpu"))
        most = torch.zeros((), dtype=torch.int64)
        room = None if capacity is None else PairRoom(capacity, most)
        with same_bits() if fixed else contextlib.nullcontext():
            found = draw(Gaussians(*tensors), replace(views, room=room), BLUR, path="tiles")
            found.colors.square().sum().backward()
        return int(most), [found.colors.detach(), *(t.grad for t in tensors if t.grad is not None)]

    _, expected = once(None)
    most, found = once(10**5)
    assert 100 < most < 10**5
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0 if fixed else 1e-5)
    again, found = once(most)
    assert again == most and torch.allclose(found[0], expected[0], atol=1e-6)
    again, found = once(most - 50)
    assert again == most and all(torch.isfinite(t).all() for t in found) and not torch.allclose(found[0], expected[0])


def test_nothing_is_drawn_of_what_lies_behind():
    for path in ("scan", "tiles"):
        for order in (contextlib.nullcontext(), same_bits()):
            tensors = [t.clone() for t in CASES["few and large"]]
            tensors[0][:, 2] = -9.0
            tensors = [t.requires_grad_() for t in tensors]
            with order:
                found = drawn(tensors, [camera()], path)
                (found.colors.sum() + found.transmittance.sum()).backward()
            assert (found.colors == 0).all()
            assert (found.transmittance == 1).all()
            assert all(t.grad is None or (t.grad == 0).all() for t in tensors)


def test_depth_is_that_of_the_gaussians():
    one = [torch.zeros(1, 3), 0.2 * torch.eye(3)[None], torch.tensor([0.9]), torch.ones(1, 3)]
    one += [torch.eye(3)[None], torch.zeros(9, 1)]
    views = Views.of([camera()], np.zeros(3), torch.device("cpu"))
    for path in ("scan", "tiles"):
        found = draw(Gaussians(*one), views, BLUR, depth=True, path=path)
        assert found.depth is not None
        alpha = 1 - found.transmittance[0]
        torch.testing.assert_close(found.depth[0], 2.5 * alpha, rtol=1e-5, atol=1e-6)


def test_a_gpu_does_not_draw_one_after_the_other() -> None:
    elsewhere = [t.to("meta") for t in CASES["one"]]
    views = Views.of([camera()], np.zeros(3), torch.device("cpu"))
    with pytest.raises(ValueError, match="path is 'scan', which is for CPUs, and the Gaussians lie on meta"):
        draw(Gaussians(*elsewhere), views, BLUR, path="scan")
