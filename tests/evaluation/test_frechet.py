"""The Fréchet distance by its formula, by scipy's root, and from parts."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from dsopt.evaluation.frechet import Moments, frechet, frechet_unlimited


def normal(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale + shift


@pytest.mark.parametrize("n", [500, 10])  # also fewer than features
def test_a_set_has_no_distance_from_itself(n: int):
    features = normal(n, 32, 0, 3.0, 5.0)
    assert frechet(Moments.of(features), Moments.of(features)) == pytest.approx(0, abs=1e-5)


def test_moments_of_two_normal_distributions_give_the_formula():
    """Of N(m, s^2 I) and N(0, I): |m|^2 + d (s - 1)^2, exactly."""
    d, n, scale = 7, 100, 2.5
    mean, eye = torch.arange(d).double(), torch.eye(d).double()
    a = Moments(n, n * mean, (n - 1) * scale**2 * eye + n * torch.outer(mean, mean))
    b = Moments(n, torch.zeros(d).double(), (n - 1) * eye)
    assert frechet(a, b) == pytest.approx(float(mean @ mean) + d * (scale - 1) ** 2, rel=1e-10)
    assert frechet(b, a) == pytest.approx(frechet(a, b), rel=1e-10)


def test_distance_is_that_of_the_papers_code():
    mix = normal(16, 16, 3)
    a, b = normal(300, 16, 1) @ mix, normal(200, 16, 2, 0.7, 0.3)
    means, covariances = [x.double().mean(0).numpy() for x in (a, b)], [np.cov(x.double().numpy().T) for x in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert frechet(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-8)


def test_sums_over_parts_are_the_whole():
    features = normal(1000, 12, 0, shift=100.0)
    whole, parts = Moments.of(features), [Moments.of(part) for part in features.split(130)]
    together = sum(parts[1:], parts[0])
    assert together.n == 1000
    torch.testing.assert_close(together.mean, whole.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(together.covariance, torch.cov(features.double().T), rtol=1e-6, atol=1e-8)
    assert frechet(together, whole) == pytest.approx(0, abs=1e-6)


def test_extrapolation_takes_away_most_of_what_few_images_add():
    """Two sets of one distribution are at distance 0; that of 400 images with 64 features is far above it."""
    reference = Moments.of(normal(50_000, 64, 0))
    few = normal(400, 64, 1)
    found = frechet_unlimited(reference, few, torch.Generator().manual_seed(0))
    assert frechet(reference, Moments.of(few)) > 2
    assert abs(found) < 0.5
    assert found == frechet_unlimited(reference, few, torch.Generator().manual_seed(0))
