"""Uniform shuffling."""

import torch
from torch import Tensor

from dsopt.seeds import derive
from dsopt.training.samplers.contract import Sampler, sampler
from dsopt.training.samplers.rounds import endless


@sampler()
def shuffle(n: int, batch_size: int, seed: int) -> Sampler:
    """Full batches from an endless sequence of permutations: each image comes once before any comes again."""

    def permutation(epoch: int, size: int) -> Tensor:
        return torch.randperm(size, generator=torch.Generator().manual_seed(derive(seed, epoch)))

    return endless(batch_size, lambda step: n, permutation)
