"""The Frechet distance against closed forms, and its streaming statistics against whole batches."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from inception_weights import light_state, write_weights

from na_ray.evaluation.fid import BATCH, Gaussian, Moments, PictureMoments, frechet_distance
from na_ray.models.pretrained.inception import load_inception


def batch(rows: np.ndarray) -> Gaussian:
    return Gaussian(rows.mean(0), np.cov(rows.T))


def samples(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Correlated, of widely different spread, off the origin."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, size)) @ generator.normal(size=(size, size)) * np.logspace(-3, 2, size) + 50


def test_gaussians_have_a_closed_form() -> None:
    """Diagonal covariances: the sum of (m1 - m2)^2 + (s1 - s2)^2, s the deviations."""
    generator = np.random.default_rng(0)
    (m1, m2), (s1, s2) = generator.normal(size=(2, 6)), generator.uniform(0.1, 3, (2, 6))
    s2[1] = s1[3] = 0
    turn, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    a, b = (Gaussian(m, turn @ np.diag(s**2) @ turn.T) for m, s in ((m1, s1), (m2, s2)))
    expected = ((m1 - m2) ** 2 + (s1 - s2) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_it_equals_the_formula_with_a_matrix_root() -> None:
    a, b = batch(samples(40, 8)), batch(samples(60, 8, seed=1))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("count", [2, 5, 100])
def test_it_is_symmetric_and_zero_for_equal_sets(count: int) -> None:
    """Also for fewer samples than numbers, where the covariance is singular."""
    rows = samples(count, 12)
    a, shuffled, b = batch(rows), batch(rows[::-1]), batch(samples(count, 12, seed=1))
    scale = np.trace(a.covariance)
    assert a.factor.shape == (12, min(count - 1, 12))
    assert a.factor @ a.factor.T == pytest.approx(a.covariance, abs=1e-12 * scale)
    assert 0 <= frechet_distance(a, a) <= 1e-12 * scale
    assert 0 <= frechet_distance(a, shuffled) <= 1e-12 * scale
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a, b) > 1e-3 * scale


def test_singular_sets_that_differ_along_one_axis() -> None:
    """One deviation of each: (m1 - m2)^2 + (s1 - s2)^2, where most of the covariance is zero."""
    axis = np.random.default_rng(0).normal(size=50)
    axis /= np.linalg.norm(axis)
    a, b = (batch(np.outer(np.array(places), axis)) for places in ((-1.0, 1.0), (0.0, 6.0)))
    s1, s2 = np.sqrt(2), np.sqrt(18)
    assert frechet_distance(a, b) == pytest.approx(9 + (s1 - s2) ** 2, rel=1e-12)
    still = batch(np.zeros((3, 50)))
    assert frechet_distance(a, still) == pytest.approx(s1**2, rel=1e-12)
    assert frechet_distance(still, still) == 0


def test_numbers_that_are_not_finite_are_no_zero() -> None:
    a = Gaussian(np.full(3, np.nan), np.eye(3))
    assert np.isnan(frechet_distance(a, a))


@pytest.mark.parametrize("sizes", [[1] * 30, [30], [1, 7, 2, 20]])
def test_streaming_equals_one_batch(sizes: list[int]) -> None:
    rows = samples(30, 5) + 1e6  # sums of squares would lose nine digits
    moments = Moments(5)
    assert moments.gaussian() is None
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        moments.add(part)
    found, expected = moments.gaussian(), batch(rows)
    assert found is not None and moments.count == 30
    assert found.mean == pytest.approx(expected.mean, rel=1e-14)
    assert found.covariance == pytest.approx(expected.covariance, rel=1e-6)


def test_one_vector_has_no_covariance() -> None:
    moments = Moments(5)
    moments.add(np.ones((1, 5)))
    assert moments.gaussian() is None


def test_pictures_stream_through_the_network_once_while_they_stand_still(tmp_path: Path) -> None:
    write_weights(tmp_path, light_state())
    network = load_inception(tmp_path)
    seen: list[torch.Tensor] = []
    network.register_forward_hook(lambda _module, _inputs, features: seen.append(features[0]))
    pictures = torch.rand(3, 20, 24, 3, generator=torch.Generator().manual_seed(0)) ** torch.tensor([0.5, 1, 4])
    moments = PictureMoments(network)
    order = [0, 0, 1] + [2] * BATCH
    for k in order:
        moments.add(pictures[k])
    assert len(seen) == 3
    features = torch.stack(seen).double().numpy()[order]
    found = moments.gaussian()
    assert found is not None and moments.moments.count == len(order) and features.std(0).max() > 1e-6
    np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.covariance, np.cov(features.T), rtol=1e-6, atol=1e-15)
