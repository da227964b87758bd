"""Batches from images that lie on the device as bytes: chosen by a sampler, transformed there, never touched one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """What a learner's `update` takes."""

    images: Tensor  # float [b, c, s, s]
    labels: Tensor  # int64 [b], -1 where there is none
    seed: int  # for whatever else of this step is random


@dataclass(frozen=True)
class Resident:
    """The batches of a phase: `source(step)` is always the same batch for the same step, on any number of workers.

    Args:
        images: uint8 [n, c, h, w] on the device.
        labels: int64 [n] on the device.
        sampler: step -> indices [b] of the whole batch.
        seed: step -> the seed of its random transforms.
        transform: (images [b/world, c, h, w], seed, whole batch, start, stop) -> float images.
        rank, world: which slice of every batch is this worker's.
    """

    images: Tensor
    labels: Tensor
    sampler: Callable[[int], Tensor]
    seed: Callable[[int], int]
    transform: Callable[[Tensor, int, int, int, int], Tensor]
    rank: int = 0
    world: int = 1

    def __call__(self, step: int) -> Batch:
        indices = self.sampler(step)
        total = len(indices)
        start, stop = self.rank * total // self.world, (self.rank + 1) * total // self.world
        mine = indices[start:stop].to(self.images.device, non_blocking=True)
        seed = self.seed(step)
        return Batch(self.transform(take(self.images, mine), seed, total, start, stop), self.labels[mine], seed)


def take(images: Tensor, indices: Tensor) -> Tensor:
    """Images by index, [k, c, h, w]; stays channels-last, which plain indexing of a permuted tensor would lose."""
    return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)


def in_order(images: Tensor, labels: Tensor, size: int, transform: Callable[[Tensor], Tensor], device: torch.device):
    """All images once, in order, as batches for an evaluation."""
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        yield Batch(transform(images[part].to(device)), labels[part].to(device), 0)
