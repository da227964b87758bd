"""Batches of uint8 images: rows chosen by a sampler and transformed on the device, a whole batch at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor

from dsopt.data.ahead import Ahead
from dsopt.data.encoded import AHEAD, Encoded


class Batch(NamedTuple):
    """The input of a learner's `update`."""

    images: Tensor  # float [b, c, s, s]
    labels: Tensor  # int64 [b], -1: no label; or probabilities, float [b, classes]
    seed: int  # for everything else that is random in this step
    weights: Tensor | None = None  # of the images in the loss, float [b]; None: all 1
    observe: Callable[[Tensor], None] | None = None  # a classifier calls it with the logits [b, classes]


@dataclass(frozen=True)
class Batches:
    """The batches of a phase: `batches(step)` returns the same batch for the same step, on any number of workers.

    Args:
        images: uint8 [n, c, h, w]; on the device, or in memory or a mapped file, from which each batch is moved to the device, the
            next one while it computes this one; or an `Encoded` in its place, which decodes the next batches meanwhile.
        labels: on the device, int64 [n] or probabilities [n, classes].
        sampler: step -> (indices [b] of the global batch, weights [b] or None).
        seed: step -> the seed of its random transforms.
        transform: (images [b/world, c, h, w], seed, global batch size, start, stop) -> float images.
        rank, world: this worker's slice of every batch is [start, stop) = [rank * b / world, (rank + 1) * b / world).
        observe: called on every worker with (indices [b], labels, logits [b, classes]) of every global batch.
        keep: selects what of this worker's slice is trained on; then `observe` is not called.
        mix: (transformed images, labels, seed, global batch size, start, stop) -> (images, labels), for mixup and CutMix.
        foreseen: the sampler is a function of the step alone, so that the next batches are known.
    """

    images: Tensor | Encoded
    labels: Tensor
    sampler: Callable[[int], tuple[Tensor, Tensor | None]]
    seed: Callable[[int], int]
    transform: Callable[[Tensor, int, int, int, int], Tensor]
    rank: int = 0
    world: int = 1
    observe: Callable[[Tensor, Tensor, Tensor], None] | None = None
    keep: Callable[[Batch], Batch] | None = None
    mix: Callable[[Tensor, Tensor, int, int, int, int], tuple[Tensor, Tensor]] | None = None
    foreseen: bool = True

    def __call__(self, step: int) -> Batch:
        indices, weights = self.sampler(step)
        total, (start, stop) = len(indices), self._slice(indices)
        mine, device = indices[start:stop], self.labels.device
        here = moved(mine, device)
        pixels = moved(self._taken(mine, here, step), device)
        seed, labels = self.seed(step), self.labels[here]
        images = self.transform(pixels, seed, total, start, stop)
        if self.mix:
            images, labels = self.mix(images, labels, seed, total, start, stop)
        batch = Batch(
            images,
            labels,
            seed,
            None if weights is None else moved(weights[start:stop], device),
            self._observer(indices, start) if self.observe and not self.keep else None,
        )
        return self.keep(batch) if self.keep else batch

    def _slice(self, indices: Tensor) -> tuple[int, int]:
        return self.rank * len(indices) // self.world, (self.rank + 1) * len(indices) // self.world

    def _taken(self, mine: Tensor, here: Tensor, step: int) -> Tensor:
        """The images of these indices, which are `here` on the device."""
        if isinstance(self.images, Encoded):
            return self.images.take(mine, [self._mine(step + 1 + i) for i in range(AHEAD if self.foreseen else 0)])
        if self.images.device == here.device:
            return take(self.images, here)
        return self._ahead(mine, self._mine(step + 1)) if self.foreseen else take(self.images, mine)

    def _mine(self, step: int) -> Tensor:
        indices = self.sampler(step)[0]
        return indices[slice(*self._slice(indices))]

    @cached_property
    def _ahead(self) -> Ahead:
        return Ahead(partial(take, cast(Tensor, self.images)), self.labels.device)

    def _observer(self, indices: Tensor, start: int) -> Callable[[Tensor], None]:
        def observe(logits: Tensor) -> None:
            if self.world > 1:
                # Slices may differ in length by one, so all_gather does not apply: sum slices that are padded with zeros.
                mine = logits.float()
                logits = mine.new_zeros(len(indices), mine.shape[1])
                logits[start : start + len(mine)] = mine
                dist.all_reduce(logits)
            assert self.observe is not None
            self.observe(indices, self.labels[moved(indices, self.labels.device)], logits)

        return observe


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on the device, through pinned memory: a plain copy would wait for the kernels of the last step."""
    if values.device.type == device.type:
        return values
    if device.type == "cuda" and not values.is_pinned():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


def take(images: Tensor, indices: Tensor) -> Tensor:
    """Images by index, [k, c, h, w]; keeps channels-last memory, which plain indexing of a permuted tensor would not."""
    return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)


def in_order(images: Tensor | Encoded, labels: Tensor, size: int, transform: Callable[[Tensor], Tensor], device: torch.device):
    """Yield all images once, in order, as batches for an evaluation."""
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        yield Batch(transform(images[part].to(device)), labels[part].to(device), 0)
