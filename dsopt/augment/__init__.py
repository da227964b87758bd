"""Augmentations of whole batches, with random parameters per image, computed on the images' device.

A transform is `(images, draw, *, options) -> images`. Images are [b, c, h, w], uint8 or float in 0..1. Every call of `draw()`
returns new uniform numbers in [0, 1), one per image. They are an argument, so that a batch that is split over workers is augmented
exactly like the whole batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dsopt.data.batches import moved

UniformDraw = Callable[[], Tensor]

FIRST = 8  # numbers an image that the first batch is given at once


class Draws:
    """The draws of one batch after another. A GPU gets the numbers of a batch in one copy: as many as the batch before took."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.most = device, FIRST

    def __call__(self, seed: int, total: int, start: int, stop: int) -> UniformDraw:
        """Uniform numbers for images `start` to `stop` of a batch of `total`; they do not depend on how the batch is split."""
        return _Draw(self, torch.Generator().manual_seed(seed), total, slice(start, stop))


class _Draw:
    def __init__(self, draws: Draws, generator: torch.Generator, total: int, own: slice) -> None:
        self.draws, self.generator, self.total, self.own = draws, generator, total, own
        self.taken, self.host, self.there = 0, torch.empty(0, 0), torch.empty(0, 0)

    def __call__(self) -> Tensor:
        return self._next()[1]

    def on_host(self) -> Tensor:
        """The next numbers, on the CPU: for what decides which operations run."""
        return self._next()[0]

    def _next(self) -> tuple[Tensor, Tensor]:
        if self.draws.device.type == "cpu":
            numbers = torch.rand(self.total, generator=self.generator)[self.own]
            return numbers, numbers
        if not len(self.host):
            # One row after another from one generator are the numbers that single calls would give.
            self.host = torch.rand(self.draws.most, self.total, generator=self.generator)[:, self.own]
            self.there = moved(self.host, self.draws.device)
        found = self.host[0], self.there[0]
        self.taken, self.host, self.there = self.taken + 1, self.host[1:], self.there[1:]
        self.draws.most = max(self.draws.most, self.taken)
        return found


def draws(seed: int, total: int, start: int, stop: int, device: torch.device) -> UniformDraw:
    """The draw of a single batch, see `Draws`."""
    return Draws(device)(seed, total, start, stop)


def on_host(draw: UniformDraw) -> Tensor:
    """The next numbers of a draw on the CPU, without waiting for a GPU if it was made by `Draws`."""
    return draw.on_host() if isinstance(draw, _Draw) else draw().cpu()
