"""Transforming a few images at a time, so that a transform's intermediate results stay in the CPU cache."""

from collections.abc import Callable

import torch
from torch import Tensor

# Images per block. Measured with 1,024 images of 32x32x3 (rotate, blur, on a busy CPU): 32, 64 and 128 are equally fast, and 1.7
# times as fast as all at once. Most of the difference is allocation: 12 MiB of new memory took 8 ms, as long as the rotation.
BLOCK = 64


def in_blocks(transform: Callable[..., Tensor], images: Tensor, *drawn: Tensor) -> Tensor:
    """`transform(images, *drawn)`, block by block on a CPU, else at once; channels-last. It must not change the images' shape."""
    if images.device.type != "cpu":
        return transform(images, *drawn).contiguous(memory_format=torch.channels_last)
    found = torch.empty_like(images, memory_format=torch.channels_last)
    for block in zip(*(tensor.split(BLOCK) for tensor in (found, images, *drawn)), strict=True):
        block[0].copy_(transform(*block[1:]))
    return found
