"""The Fréchet distance of two sets of features, from sums that can be added over parts, workers and machines."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """The sufficient statistics of a set: its size, the sum of its features, and the sum of their outer products."""

    n: int
    sum: Float64[Tensor, " d"]
    outer: Float64[Tensor, "d d"]

    @staticmethod
    def of(features: Float[Tensor, "n d"]) -> "Moments":
        exact = features.double()
        return Moments(len(exact), exact.sum(0), exact.T @ exact)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.sum + other.sum, self.outer + other.outer)

    @property
    def mean(self) -> Float64[Tensor, " d"]:
        return self.sum / self.n

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased covariance, divided by n - 1; nan for a single image."""
        return (self.outer - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)

    @cached_property
    def root(self) -> Float64[Tensor, "d d"]:
        """The symmetric square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def frechet(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)); the FID with Inception features (Heusel et al. 2017, arXiv:1706.08500).

    The trace of (C_a C_b)^(1/2) is computed as that of the root of C_a^(1/2) C_b C_a^(1/2). This matrix is symmetric, so up to
    rounding its eigenvalues are real and not negative. The root of the product itself, as in the paper's code, may be complex if
    n < d.
    """
    common = torch.linalg.eigvalsh(a.root @ b.covariance @ a.root).clamp_min(0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * common)


def frechet_unlimited(reference: Moments, features: Float[Tensor, "n d"], generator: torch.Generator, points: int = 15) -> float:
    """The distance extrapolated to infinitely many images (FID_infinity, Chong & Forsyth 2020, arXiv:1911.07023).

    The bias of the distance is about proportional to 1/n, with a factor that depends on the generator. So a line in 1/n is fitted
    to `points` sizes, each with another random subset, and evaluated at 1/n = 0. The size of the reference is not changed.

    Deviation from the paper: its sizes go from n/10 to n; here sizes below 4 d, where the bias is not linear in 1/n, are left out,
    but none above n/2. For 400 images from the reference's own normal distribution, d = 64, the result is -1.6 with them and 0.1
    without; expected 0.
    """
    n, d = features.shape
    sizes = np.linspace(max(2, n // 10, min(n // 2, 4 * d)), n, points).astype(int)
    drawn = [features[torch.randperm(len(features), generator=generator)[:size].to(features.device)] for size in sizes]
    found = [frechet(reference, Moments.of(some)) for some in drawn]
    return float(np.polynomial.Polynomial.fit(1 / sizes, found, 1)(0.0))
