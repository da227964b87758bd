"""Samplers: which images a step sees. A sampler is a function of the step alone, so that resuming needs no replay."""

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.seeds import derive


def shuffle(n: int, batch_size: int, seed: int) -> Callable[[int], Int64[Tensor, " b"]]:
    """Full batches from one endless sequence of permutations of `n` images: each image once before any is seen again."""

    @lru_cache(maxsize=4)
    def permutation(epoch: int) -> Tensor:
        return torch.randperm(n, generator=torch.Generator().manual_seed(derive(seed, epoch)))

    def indices(step: int) -> Int64[Tensor, " b"]:
        position, stop, pieces = step * batch_size, (step + 1) * batch_size, []
        while position < stop:
            epoch, start = divmod(position, n)
            pieces.append(permutation(epoch)[start : start + stop - position])
            position += len(pieces[-1])
        return torch.cat(pieces)

    return indices
