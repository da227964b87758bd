"""Some images at a time, so that what a transform holds meanwhile stays in the cache."""

from collections.abc import Callable

import torch
from torch import Tensor

# Images. Of 32x32x3 as fast as 32 and 128, and 1.7 times as fast as all of 1,024 (rotate, blur, on a busy CPU), most of it for
# memory: 12 MiB that the system has to give anew took 8 ms, as long as to turn the images.
BLOCK = 64


def in_blocks(transform: Callable[..., Tensor], images: Tensor, *drawn: Tensor) -> Tensor:
    """`transform(images, *drawn)` of images that keep their shape, channels-last; all at once where there is no such cache."""
    if images.device.type != "cpu":
        return transform(images, *drawn).contiguous(memory_format=torch.channels_last)
    found = torch.empty_like(images, memory_format=torch.channels_last)
    for block in zip(*(tensor.split(BLOCK) for tensor in (found, images, *drawn)), strict=True):
        block[0].copy_(transform(*block[1:]))
    return found
