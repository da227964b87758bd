"""Every image equally often."""

import torch
from torch import Tensor

from dsopt.seeds import derive
from dsopt.training.samplers.contract import Sampler, sampler
from dsopt.training.samplers.rounds import endless


@sampler()
def shuffle(n: int, batch_size: int, seed: int) -> Sampler:
    """Full batches from one endless sequence of permutations: each image once before any is seen again."""

    def permutation(epoch: int, size: int) -> Tensor:
        return torch.randperm(size, generator=torch.Generator().manual_seed(derive(seed, epoch)))

    return endless(batch_size, lambda step: n, permutation)
