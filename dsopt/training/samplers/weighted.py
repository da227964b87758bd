"""Random images with probabilities that grow with a score."""

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
    """Draw with probabilities proportional to score^power, in rounds of a fraction of the images.

    That is weighted random exploration (MILO, Killamsetty et al. 2023, arXiv:2301.13287, with that paper's own scores). Without
    replacement no image comes twice in a round, and images of probability 0 come only after all others. There is no importance
    weighting: images that are drawn more often count more.
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
        # The images with the shortest of n exponential waiting times are a weighted sample without replacement (Efraimidis and
        # Spirakis 2006, doi:10.1016/j.ipl.2005.11.003), and need no loop over draws.
        waits = torch.empty(n, dtype=torch.float64).exponential_(generator=generator) / weights
        return waits.topk(size, largest=False).indices

    return endless(batch_size, lambda step: max(1, round(fraction * n)), draw)
