"""Crops and flips."""

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from dsopt.augment import Draw
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=True)
def crop(images: Shaped[Tensor, "b c h w"], draw: Draw, *, size: int = 24) -> Shaped[Tensor, "b c s s"]:
    """Cut a square of `size` pixels at a random place, another one for every image."""
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # [b, c, tops, lefts, s, s], a view
    top = (draw() * windows.shape[2]).long()
    left = (draw() * windows.shape[3]).long()
    # One gather, whose result is channels-last like the images.
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def centre_crop(images: Shaped[Tensor, "b c h w"], size: int) -> Shaped[Tensor, "b c s s"]:
    """The middle square of `size` pixels, as the papers test."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


@AUGMENTATIONS.register(bytes=True)
def flip(images: Shaped[Tensor, "b c h w"], draw: Draw) -> Shaped[Tensor, "b c h w"]:
    """Mirror left and right, every image with probability one half."""
    # Whole images are copied out of both halves, each in one piece: for bytes twice as fast as to choose every one by itself.
    last = images.is_contiguous(memory_format=torch.channels_last)
    rows = images.permute(0, 2, 3, 1) if last else images
    both = torch.cat([rows, rows.flip(2 if last else 3)])
    found = both.index_select(0, torch.arange(len(rows), device=rows.device) + len(rows) * (draw() < 0.5))
    return found.permute(0, 3, 1, 2) if last else found


@AUGMENTATIONS.register(bytes=True)
def shift(images: Shaped[Tensor, "b c h w"], draw: Draw, *, most: int = 4) -> Shaped[Tensor, "b c h w"]:
    """Move every image by up to `most` pixels each way, black where it was not: "pad and crop" (He et al. 2016, section 4.2).

    The side stays; a network that takes smaller images has `crop` for that.
    """
    height, width = images.shape[2:]
    windows = F.pad(images, [most] * 4).unfold(2, height, 1).unfold(3, width, 1)
    top, left = ((draw() * (2 * most + 1)).long() for _ in range(2))
    return windows[torch.arange(len(images), device=images.device), :, top, left]
