"""A fresh random part of the images every round."""

import torch
from torch import Tensor

from dsopt.errors import InputError
from dsopt.seeds import derive
from dsopt.training.samplers.contract import Sampler, sampler
from dsopt.training.samplers.rounds import endless
from dsopt.training.samplers.shuffle import shuffle


@sampler()
def rs2(n: int, batch_size: int, seed: int, *, fraction: float = 0.1, replacement: bool = False) -> Sampler:
    """A fresh random fraction of the images every round (RS2, Okanovic et al. 2023, arXiv:2305.18424, algorithm 1).

    Without replacement, rounds are the pieces of one permutation after another. Joined by full batches they are what `shuffle`
    feeds, whatever the fraction: all that RS2 then adds is the learning-rate schedule over fewer steps, and that is the budget's
    business. With replacement every round draws from all images, none twice within it.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"train.sampler: rs2: fraction={fraction}: must be above 0 and at most 1.")
    if not replacement:
        return shuffle(n, batch_size, seed)

    def fresh(number: int, size: int) -> Tensor:
        return torch.randperm(n, generator=torch.Generator().manual_seed(derive(seed, number)))[:size]

    return endless(batch_size, lambda step: max(1, round(fraction * n)), fresh)
