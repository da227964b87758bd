"""Augmentations of whole batches, with random parameters per image, computed on the images' device.

A transform is `(images, draw, *, options) -> images`. Images are [b, c, h, w], uint8 or float in 0..1. Every call of `draw()`
returns new uniform numbers in [0, 1), one per image. They are an argument, so that a batch that is split over workers is augmented
exactly like the whole batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

UniformDraw = Callable[[], Tensor]


def draws(seed: int, total: int, start: int, stop: int, device: torch.device) -> UniformDraw:
    """Uniform numbers for images `start` to `stop` of a batch of `total`; they do not depend on how the batch is split."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.rand(total, generator=generator)[start:stop].to(device, non_blocking=True)
