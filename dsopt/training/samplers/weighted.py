"""Images by chance, the likelier the higher their score."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.errors import InputError
from dsopt.seeds import derive
from dsopt.training.samplers.contract import Sampler, Score, sampler
from dsopt.training.samplers.rounds import endless


@sampler(scores=True)
def weighted(
    n: int,
    batch_size: int,
    seed: int,
    scores: Mapping[str, Float[Tensor, " n"]],
    *,
    score: Score = "el2n",
    power: float = 1.0,
    fraction: float = 0.1,
    replacement: bool = False,
) -> Sampler:
    """Draw with a probability proportional to score^power, in rounds of a fraction of the images (weighted random exploration:
    MILO, Killamsetty et al. 2023, arXiv:2301.13287, there with scores of its own).

    Without replacement no image comes twice in a round, and those of probability 0 only after all others. Losses are not
    weighted in return: what is drawn more often counts more.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"train.sampler: weighted: fraction={fraction}: must be above 0 and at most 1.")
    weights = scores[score].double() ** power
    if not (weights >= 0).all() or not 0 < weights.sum() < torch.inf:
        raise InputError(f"train.sampler: weighted: {score}^{power} is no probability: negative, infinite, or 0 for all images.")
    cumulative = weights.cumsum(0)

    def draw(number: int, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive(seed, number))
        if replacement:
            u = torch.rand(size, generator=generator, dtype=torch.float64) * cumulative[-1]
            return torch.searchsorted(cumulative, u, right=True).clamp(max=n - 1)
        # The first of n waiting times with these rates, and so on: drawing one after another from those left (Efraimidis and
        # Spirakis 2006, doi:10.1016/j.ipl.2005.11.003), without doing it one after another.
        waits = torch.empty(n, dtype=torch.float64).exponential_(generator=generator) / weights
        return waits.topk(size, largest=False).indices

    return endless(batch_size, lambda step: max(1, round(fraction * n)), draw)
