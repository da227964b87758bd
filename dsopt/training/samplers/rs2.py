"""A new random subset of the images every round."""

import torch
from torch import Tensor

from dsopt.errors import InputError
from dsopt.seeds import derive
from dsopt.training.samplers.contract import Sampler, sampler
from dsopt.training.samplers.rounds import endless
from dsopt.training.samplers.shuffle import shuffle


@sampler()
def rs2(n: int, batch_size: int, seed: int, *, fraction: float = 0.1, replacement: bool = False) -> Sampler:
    """A new random fraction of the images every round (RS2, Okanovic et al. 2023, arXiv:2305.18424, algorithm 1).

    Without replacement, rounds are consecutive pieces of permutations. In full batches that is exactly `shuffle`, whatever the
    fraction: RS2 then only adds a learning-rate schedule over fewer steps, which the budget determines here. With replacement, each
    round draws from all images, none twice within a round.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"train.sampler: rs2: fraction={fraction}: must be above 0 and at most 1.")
    if not replacement:
        return shuffle(n, batch_size, seed)

    def subset(number: int, size: int) -> Tensor:
        return torch.randperm(n, generator=torch.Generator().manual_seed(derive(seed, number)))[:size]

    return endless(batch_size, lambda step: max(1, round(fraction * n)), subset)
