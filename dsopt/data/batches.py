"""Batches from images kept as bytes: chosen by a sampler, transformed on the device, never touched one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Batch(NamedTuple):
    """What a learner's `update` takes."""

    images: Tensor  # float [b, c, s, s]
    labels: Tensor  # int64 [b], -1 where there is none; or probabilities, float [b, classes]
    seed: int  # for whatever else of this step is random
    weights: Tensor | None = None  # of the images in the loss, float [b]; None: all 1
    observe: Callable[[Tensor], None] | None = None  # a classifier gives it the batch's logits [b, classes]


@dataclass(frozen=True)
class Batches:
    """The batches of a phase: `source(step)` is always the same batch for the same step, on any number of workers.

    Args:
        images: uint8 [n, c, h, w] on the device, or where there is room for them: a batch is moved when its turn comes.
        labels: on the device, int64 [n] or probabilities [n, classes].
        sampler: step -> (indices [b] of the whole batch, weights [b] or None).
        seed: step -> the seed of its random transforms.
        transform: (images [b/world, c, h, w], seed, whole batch, start, stop) -> float images.
        rank, world: which slice of every batch is this worker's.
        observe: wants to see (indices [b], labels, logits [b, classes]) of every whole batch, on every worker.
        keep: what of a worker's slice is trained on; with it nothing is observed.
        mix: what the transform gave, labels, seed, whole batch, start, stop -> both, where images are mixed.
    """

    images: Tensor
    labels: Tensor
    sampler: Callable[[int], tuple[Tensor, Tensor | None]]
    seed: Callable[[int], int]
    transform: Callable[[Tensor, int, int, int, int], Tensor]
    rank: int = 0
    world: int = 1
    observe: Callable[[Tensor, Tensor, Tensor], None] | None = None
    keep: Callable[[Batch], Batch] | None = None
    mix: Callable[[Tensor, Tensor, int, int, int, int], tuple[Tensor, Tensor]] | None = None

    def __call__(self, step: int) -> Batch:
        indices, weights = self.sampler(step)
        total = len(indices)
        start, stop = self.rank * total // self.world, (self.rank + 1) * total // self.world
        mine, device = indices[start:stop], self.labels.device
        pixels = _moved(take(self.images, mine.to(self.images.device, non_blocking=True)), device)
        seed, labels = self.seed(step), self.labels[mine.to(device, non_blocking=True)]
        images = self.transform(pixels, seed, total, start, stop)
        if self.mix:
            images, labels = self.mix(images, labels, seed, total, start, stop)
        batch = Batch(
            images,
            labels,
            seed,
            None if weights is None else weights[start:stop].to(device, non_blocking=True),
            self._observer(indices, start) if self.observe and not self.keep else None,
        )
        return self.keep(batch) if self.keep else batch

    def _observer(self, indices: Tensor, start: int) -> Callable[[Tensor], None]:
        def observe(logits: Tensor) -> None:
            if self.world > 1:
                mine = logits.float()
                logits = mine.new_zeros(len(indices), mine.shape[1])
                logits[start : start + len(mine)] = mine
                dist.all_reduce(logits)
            assert self.observe is not None
            self.observe(indices, self.labels[indices.to(self.labels.device)], logits)

        return observe


def _moved(pixels: Tensor, device: torch.device) -> Tensor:
    """On the device; from pinned memory, or this step would wait for what the device still has to do for the last one."""
    if pixels.device == device:
        return pixels
    return (pixels.pin_memory() if device.type == "cuda" else pixels).to(device, non_blocking=True)


def take(images: Tensor, indices: Tensor) -> Tensor:
    """Images by index, [k, c, h, w]; stays channels-last, which plain indexing of a permuted tensor would lose."""
    return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)


def in_order(images: Tensor, labels: Tensor, size: int, transform: Callable[[Tensor], Tensor], device: torch.device):
    """All images once, in order, as batches for an evaluation."""
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        yield Batch(transform(images[part].to(device)), labels[part].to(device), 0)
