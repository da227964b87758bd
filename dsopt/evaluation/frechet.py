"""The Fréchet distance of two sets of features, from sums that add across parts, workers and machines."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """What the distance needs to know of a set: its size, the sum of its features, and the sum of their outer products."""

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
        """Without bias: divided by n - 1. Of a single image: not a number."""
        return (self.outer - self.n * torch.outer(self.mean, self.mean)) / (self.n - 1)

    @cached_property
    def root(self) -> Float64[Tensor, "d d"]:
        """The symmetric square root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def frechet(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), with features of Inception the FID (Heusel et al., arXiv 1706.08500).

    (C_a C_b)^(1/2) has the trace of the root of the symmetric C_a^(1/2) C_b C_a^(1/2), whose eigenvalues are real and not negative
    but for rounding; the root of the product itself, as the paper's code takes it, may turn complex where n < d.
    """
    common = torch.linalg.eigvalsh(a.root @ b.covariance @ a.root).clamp_min(0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * common)


def unlimited(reference: Moments, features: Float[Tensor, "n d"], generator: torch.Generator, points: int = 15) -> float:
    """What the distance would be with images made without end: its line in 1/n, at 1/n = 0 (FID_infinity, arXiv 1911.07023).

    The distance is too large by about the same multiple of 1/n for every n, and the multiple depends on the generator. As in the
    paper, `points` sizes from n/10 to n are each given other images, and the reference is left as large as it is; but sizes below
    4 d, where it is no line, are left out as far as n/2 (400 images of the reference's own normal distribution, d = 64: -1.6 with
    them, 0.1 without; 0 is right).
    """
    n, d = features.shape
    sizes = np.linspace(max(2, n // 10, min(n // 2, 4 * d)), n, points).astype(int)
    drawn = [features[torch.randperm(len(features), generator=generator)[:size].to(features.device)] for size in sizes]
    found = [frechet(reference, Moments.of(some)) for some in drawn]
    return float(np.polynomial.Polynomial.fit(1 / sizes, found, 1)(0.0))
