"""The kernel distance by scikit-learn's kernel and the estimator's double sum, on the same subsets."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

from dsopt.evaluation.kernel import kernel_distance


def sets(n: int, m: int, d: int = 10, shift: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator) + shift


def plain(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate, as torch-fidelity computes it."""
    xx, yy, xy = (polynomial_kernel(a, b, degree=3, gamma=None, coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    m = len(x)
    off = (xx.sum(1) - np.diag(xx)).sum() + (yy.sum(1) - np.diag(yy)).sum()
    return off / (m * (m - 1)) - 2 * xy.sum() / (m * m)


def test_distance_is_the_mean_over_subsets_of_the_plain_estimate():
    a, b = sets(90, 70)
    found = kernel_distance(a, b, torch.Generator().manual_seed(5), subsets=7, size=40)
    generator, expected = torch.Generator().manual_seed(5), []
    for _ in range(7):
        x, y = (s[torch.randperm(len(s), generator=generator)[:40]] for s in (a, b))
        expected.append(plain(x.double().numpy(), y.double().numpy()))
    assert found == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-9)


def test_it_is_without_bias_and_sees_a_shift():
    """The same distribution: 0 within its deviation, on either side; a shifted one: far from it."""
    same = [kernel_distance(*sets(200, 200, 6, 0.0), torch.Generator().manual_seed(s), subsets=20, size=50)[0] for s in range(3)]
    assert all(abs(value) < 0.05 for value in same)
    assert kernel_distance(*sets(200, 200, 6, 1.0), torch.Generator(), subsets=20, size=50)[0] > 1


def test_few_images_are_all_taken():
    a, b = sets(12, 30)
    mean, deviation = kernel_distance(a, a.flip(0), torch.Generator(), subsets=3)
    assert deviation == pytest.approx(0, abs=1e-9)
    assert mean == pytest.approx(plain(a.double().numpy(), a.double().numpy()), rel=1e-9)
    assert kernel_distance(a, b, torch.Generator(), subsets=3)[1] > 0  # other subsets of b


def test_distance_is_torch_fidelitys_on_whole_sets():
    fidelity = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = sets(60, 60)
    statistics = fidelity.kid_features_to_metric(
        a, b, kid_subsets=2, kid_subset_size=60, kid_kernel="poly", kid_kernel_poly_degree=3, kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1, verbose=False,
    )  # fmt: skip
    found = kernel_distance(a, b, torch.Generator(), subsets=2, size=60)[0]
    assert found == pytest.approx(statistics["kernel_inception_distance_mean"], rel=1e-5)
