"""Crops and flips."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from dsopt.augment import Draw
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=True)
def crop(images: Shaped[Tensor, "b c h w"], draw: Draw, *, size: int = 24) -> Shaped[Tensor, "b c s s"]:
    """Cut a square of `size` pixels at a random place, another one for every image."""
    batch, _, height, width = images.shape
    top = (draw() * (height - size + 1)).long()
    left = (draw() * (width - size + 1)).long()
    # As rows of [b * h * w, c] pixels: one gather, whose result is channels-last like the images.
    span = torch.arange(size, device=images.device)
    rows = torch.arange(batch, device=images.device)[:, None] * height + top[:, None] + span  # [b, s]
    pixels = rows[:, :, None] * width + (left[:, None] + span)[:, None, :]  # [b, s, s]
    flat = images.permute(0, 2, 3, 1).reshape(batch * height * width, -1)
    return flat[pixels.flatten()].view(batch, size, size, -1).permute(0, 3, 1, 2)


def centre_crop(images: Shaped[Tensor, "b c h w"], size: int) -> Shaped[Tensor, "b c s s"]:
    """The middle square of `size` pixels, as the papers test."""
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


@AUGMENTATIONS.register(bytes=True)
def flip(images: Shaped[Tensor, "b c h w"], draw: Draw) -> Shaped[Tensor, "b c h w"]:
    """Mirror left and right, every image with probability one half."""
    return torch.where((draw() < 0.5)[:, None, None, None], images.flip(3), images)
