"""Gains, completion, padding and registration, each against what was planted."""

import numpy as np
import pytest
import torch
from body_fixtures import sphere
from scipy.ndimage import map_coordinates

from na_ray.body.atlas import Atlas
from na_ray.body.views import TexelReader, TexelViews
from na_ray.prepare.completion import Spreader, reference
from na_ray.prepare.gains import agree, gain_lines, solve_gains
from na_ray.prepare.maps import Completer, MapPainter, blend
from na_ray.prepare.registration import shift_between


@pytest.fixture(scope="module")
def reader() -> TexelReader:
    return TexelReader(Atlas(sphere(4), 64))


def points_of(reader: TexelReader) -> torch.Tensor:
    return reader.at_texels(reader.atlas.body.vertices)


def random_views(gains: torch.Tensor, seed: int) -> TexelViews:
    """Cameras that each see half of 5000 texels, a tenth of them with a highlight."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.rand(5000, 3, generator=generator) * 0.5 + 0.15
    seen = torch.rand(len(gains), 5000, generator=generator)
    lit = torch.rand(len(gains), 5000, 1, generator=generator) < 0.1
    taken = (colors / gains[:, None]) * torch.where(lit, 1.6, 1.0)
    return TexelViews((taken.clamp(0, 1) * 255).round() / 255, torch.where(seen > 0.5, seen, 0.0))


def test_planted_gains_come_back() -> None:
    gains = torch.exp(torch.randn(6, 3, generator=torch.Generator().manual_seed(1)) * 0.15)
    gains /= gains.log().mean(0).exp()
    found = solve_gains([random_views(gains, 2), random_views(gains, 3)])
    assert (found / gains - 1).abs().max() < 0.01 and not agree(found)
    (line,) = gain_lines(found, [0, 1, 2, 4, 5, 6])
    assert f"camera 6: {', '.join(f'{g:.2f}' for g in found[5])}" in line


def test_cameras_that_agree_or_share_nothing_get_none() -> None:
    found = solve_gains([random_views(torch.ones(4, 3), 2)])
    assert agree(found) and "left at one" in gain_lines(found, range(4))[0]
    colors, weights = torch.rand(2, 100, 3), torch.zeros(2, 100)
    weights[0, :50], weights[1, 50:] = 1, 1
    assert torch.allclose(solve_gains([TexelViews(colors, weights)]), torch.ones(2, 3, dtype=torch.float64))


def test_blending_is_the_weighted_mean_and_best_is_near_the_best_view() -> None:
    colors = torch.tensor([[[0.2, 0.2, 0.2]], [[0.8, 0.4, 0.2]], [[0.0, 0.0, 0.0]]])
    views = TexelViews(colors, torch.tensor([[0.9], [0.3], [0.0]]))
    gains = torch.tensor([[1.0, 1, 1], [0.5, 1, 2], [9, 9, 9]])
    mixed, total = blend(views, gains, "blended")
    assert torch.allclose(mixed[0], torch.tensor([0.25, 0.25, 0.25])) and total.item() == pytest.approx(1.2)
    assert torch.allclose(blend(views, gains, "best")[0][0], torch.tensor([0.2, 0.2, 0.2]), atol=0.01)


def test_what_a_frame_does_not_see_is_taken_from_others_with_this_frames_light(reader: TexelReader) -> None:
    points = points_of(reader)
    pattern = 0.4 + 0.2 * (points[:, :1] * 40).sin().sign().expand(-1, 3)
    light = torch.tensor([1.0, 1.2, 0.9, 1.1, 1.0, 0.8])
    frames = pattern[None] * light[:, None, None]
    hidden = points[:, 1] > 0.2
    weights = torch.ones(6, len(points))
    weights[0, hidden] = 0
    M = reference(frames, weights, Spreader(reader))
    assert (M - pattern)[~hidden].abs().max() < 0.011
    frame = pattern * 0.8 + 0.1
    found = Completer(M, Spreader(reader)).complete(torch.where(hidden[:, None], 0.0, frame), weights[0])
    assert (found - frame)[~hidden].abs().max() < 0.01
    # The shading of a pattern's dark and bright parts differs; it is carried as one.
    assert (found - frame)[hidden].abs().mean() < 0.05
    border = hidden & (points[:, 1] < 0.25)
    assert (found - frame)[border].mean().abs() < 0.02, "no seam"


def test_a_glance_is_not_believed(reader: TexelReader) -> None:
    points = points_of(reader)
    frames, weights = torch.full((12, len(points), 3), 0.5), torch.ones(12, len(points))
    odd = points[:, 1] > 0.45
    frames[0, odd] = torch.tensor([0.0, 1.0, 0.0])
    weights[1:, odd] = 0
    M = reference(frames, weights, Spreader(reader))
    assert (M[odd] - 0.5).abs().max() < 0.2


def test_nothing_seen_is_gray(reader: TexelReader) -> None:
    count, spreader = int(reader.atlas.inside.sum()), Spreader(reader)
    M = reference(torch.rand(2, count, 3), torch.zeros(2, count), spreader)
    found = Completer(M, spreader).complete(torch.rand(count, 3), torch.zeros(count))
    assert torch.allclose(found, torch.full_like(found, 0.5))


def test_padding_takes_the_nearest_chart_texel(reader: TexelReader) -> None:
    inside = reader.atlas.inside.numpy()
    rng = np.random.default_rng(0)
    colors = rng.random((inside.sum(), 3)).astype(np.float32)
    found = MapPainter(reader.atlas, padding=3).paint(torch.tensor(colors)).numpy()
    places = np.argwhere(inside)
    for row, column in rng.integers(0, 64, (200, 2)):
        apart = np.hypot(*(places - [row, column]).T)
        near = np.flatnonzero(apart == apart.min())
        expected = np.rint(colors[near] * 255) if apart.min() <= 3 else np.zeros((1, 3))
        assert (np.abs(expected - found[row, column]).max(1) <= 0.5).any()


def test_a_planted_drift_comes_back() -> None:
    rng = np.random.default_rng(4)
    rows, columns = np.mgrid[:90, :70].astype(float)
    waves = [rng.normal(size=2) * 0.4 for _ in range(12)]
    picture = sum(np.sin(a * rows + b * columns + i) for i, (a, b) in enumerate(waves)) / 20 + 0.5
    drift = np.stack([1.3 + 0.4 * np.sin(rows / 30), -0.8 + 0 * columns], axis=2)
    drawn = map_coordinates(picture, [rows + drift[..., 1], columns + drift[..., 0]], order=3, mode="nearest")
    # The drawing is darker and flatter than the photograph: only the pattern counts.
    photograph = np.repeat((picture * 255).round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    shown = np.hypot(rows - 45, columns - 35) < 30
    found = shift_between(np.repeat(0.3 + 0.5 * drawn[..., None], 3, axis=2), photograph, shown)
    error = np.abs(found - drift)[np.hypot(rows - 45, columns - 35) < 24]
    assert error.mean() < 0.1 and np.abs(found).max() <= 4
    assert not shift_between(drawn[..., None].repeat(3, 2), photograph, np.zeros_like(shown)).any()
