"""Difficult and uncertain images, with a shift to easier ones for small budgets."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector

TOP = 10  # images of highest score, whose mean probability sets the mode of the Beta distribution; from the paper
SUM = 15  # the Beta distribution's parameters add up to this plus 1; from the paper


@selector(embeddings=False, seeded=True, scores=("dual", "mean_probability"))
def dual(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 2"],
    *,
    exponent: float = 4.0,
) -> Selection:
    """Draw images by difficulty and uncertainty times a Beta density (DUAL pruning, Beta sampling, arXiv:2502.06905, Section 3).

    The score u is the standard deviation of the target probability times one minus its mean, averaged over windows of visits; mu
    is the mean over all visits. Rows are drawn without replacement with probabilities proportional to u Beta(mu; a, b), where
    b = 15 (1 - mu') (1 - p^c) and a = 16 - b. Here mu' is the mean of mu over the ten highest u, p the fraction left out, and c
    the `exponent`. The smaller the budget, the easier the images.
    """
    uncertainty, mean = scores.double().unbind(1)
    left_out = 1 - budget / len(scores)
    start = mean[uncertainty.argsort(descending=True, stable=True)[:TOP]].mean()
    b = SUM * (1 - start) * (1 - left_out**exponent)
    a = SUM + 1 - b
    mean = mean.clamp(1e-6, 1 - 1e-6)  # the density may be infinite at 0 and 1
    weights = uncertainty.clamp_min(0).log() + (a - 1) * mean.log() + (b - 1) * (1 - mean).log()
    # The Gumbel top-k trick draws without replacement from logarithms of the weights; the weights themselves would underflow.
    keys = weights - (-torch.rand(len(weights), dtype=torch.float64, generator=generator).log()).log()
    chosen = keys.argsort(descending=True, stable=True)[:budget]
    return Selection(chosen, scores[chosen, 0], ["dual"] * budget)
