"""Curriculum learning: easy images first, harder ones later."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.errors import InputError
from dsopt.seeds import derive
from dsopt.training.samplers.contract import Sampler, Score, sampler
from dsopt.training.samplers.rounds import endless

EASY_IF_HIGH = ("aum", "mean_probability")  # all other scores are high for hard images


@sampler(steps=True, scores=True)
def easy_to_hard(
    n: int,
    batch_size: int,
    seed: int,
    steps: int,
    scores: Mapping[str, Float[Tensor, " n"]],
    *,
    score: Score = "el2n",
    start: float = 1 / 3,
    until: float = 0.8,
) -> Sampler:
    """Shuffle only the easiest images, at first few and later all (curriculum learning, Bengio et al. 2009).

    doi:10.1145/1553374.1553380; Wu et al. 2021, arXiv:2012.03107, section 2, linear pacing: at first a fraction `start` of the
    images, growing linearly to all of them at the fraction `until` of the steps.

    Training proceeds in rounds, each of which shows its images once. The fraction is that of the step in which the round begins.
    """
    if not (0 < start <= 1 and 0 < until <= 1):
        raise InputError(f"train.sampler: easy_to_hard: start={start}, until={until}: must both be above 0 and at most 1.")
    easiest_first = scores[score].argsort(stable=True, descending=score in EASY_IF_HIGH)

    def size(step: int) -> int:
        return max(1, round(n * min(1.0, start + (1 - start) * step / (until * steps))))

    def order(number: int, size: int) -> Tensor:
        return easiest_first[torch.randperm(size, generator=torch.Generator().manual_seed(derive(seed, number)))]

    return endless(batch_size, size, order)
