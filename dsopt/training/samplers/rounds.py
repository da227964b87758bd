"""What samplers that go round by round share."""

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from dsopt.training.samplers.contract import Draw, Sampler


def endless(batch_size: int, size: Callable[[int], int], order: Callable[[int, int], Tensor]) -> Sampler:
    """Full batches from an endless sequence of rounds: a batch that the end of a round cuts goes on in the next.

    Args:
        size: of the round that begins in a step, at least 1.
        order: (round, its size) -> its images in order.
    """
    borders = [0]  # where rounds begin and end, as far as they were asked for
    cached = lru_cache(maxsize=4)(order)

    def draw(step: int) -> Draw:
        position, stop, pieces = step * batch_size, (step + 1) * batch_size, []
        while borders[-1] < stop:
            borders.append(borders[-1] + size(borders[-1] // batch_size))
        number = bisect_right(borders, position) - 1
        while position < stop:
            start, end = borders[number], borders[number + 1]
            pieces.append(cached(number, end - start)[position - start : stop - start])
            position, number = end, number + 1
        return Draw(torch.cat(pieces))

    return draw
