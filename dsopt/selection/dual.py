"""Difficult and uncertain images, shifted to easier ones where the budget is small."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector

TOP = 10  # images of highest score, which say where the Beta distribution begins
SUM = 15  # of its two parameters, but for one


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

    The score u is the mean over windows of the target probability's deviation times one minus its mean; mu is its mean over all
    visits. Rows are drawn without replacement in proportion to u Beta(mu; a, b), b = 15 (1 - mu') (1 - p^c), a = 16 - b, with
    mu' the mean mu of the ten highest u, p the share left out and c the `exponent`: the less is kept, the easier it is.
    """
    uncertainty, mean = scores.double().unbind(1)
    left_out = 1 - budget / len(scores)
    start = mean[uncertainty.argsort(descending=True, stable=True)[:TOP]].mean()
    b = SUM * (1 - start) * (1 - left_out**exponent)
    a = SUM + 1 - b
    mean = mean.clamp(1e-6, 1 - 1e-6)  # the density may be infinite at the ends
    weights = uncertainty.clamp_min(0).log() + (a - 1) * mean.log() + (b - 1) * (1 - mean).log()
    # The Gumbel trick draws without replacement, and needs no more than the logarithms: the weights would underflow.
    keys = weights - (-torch.rand(len(weights), dtype=torch.float64, generator=generator).log()).log()
    chosen = keys.argsort(descending=True, stable=True)[:budget]
    return Selection(chosen, scores[chosen, 0], ["dual"] * budget)
