"""Batches from a sequence of rounds, for samplers that work in rounds."""

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from dsopt.training.samplers.contract import BatchIndices, Sampler


def endless(batch_size: int, size: Callable[[int], int], order: Callable[[int, int], Tensor]) -> Sampler:
    """Full batches from an endless sequence of rounds; a batch that reaches the end of a round continues in the next.

    Args:
        size: step -> the number of images, at least 1, of a round that begins in that step.
        order: (index of the round, its size) -> its images in order.
    """
    borders = [0]  # positions in the sequence of images where rounds begin, as far as they were needed
    cached = lru_cache(maxsize=4)(order)

    def draw(step: int) -> BatchIndices:
        position, stop, pieces = step * batch_size, (step + 1) * batch_size, []
        while borders[-1] < stop:
            borders.append(borders[-1] + size(borders[-1] // batch_size))

        index = bisect_right(borders, position) - 1
        while position < stop:
            start, end = borders[index], borders[index + 1]
            pieces.append(cached(index, end - start)[position - start : stop - start])
            position, index = end, index + 1
        return BatchIndices(torch.cat(pieces))

    return draw
