"""Batched transforms, drawn per sample, computed on the device the images are on.

A transform is `(images, draw, *, options) -> images`. Images are [b, c, h, w], uint8 or float in 0..1; every call of `draw()` gives
one fresh uniform number in [0, 1) per image. Numbers come from outside, so that a batch that is split over workers is transformed
as it would have been in one piece.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[], Tensor]


def draws(seed: int, total: int, start: int, stop: int, device: torch.device) -> Draw:
    """Uniform numbers for images `start` to `stop` of a batch of `total`, the same however the batch is split."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.rand(total, generator=generator)[start:stop].to(device, non_blocking=True)
