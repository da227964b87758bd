"""Squares taken out of images."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from dsopt.augment import Draw
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=True)
def cutout(images: Shaped[Tensor, "b c h w"], draw: Draw, *, length: int = 16) -> Shaped[Tensor, "b c h w"]:
    """Blacken a square of `length` pixels around any pixel (DeVries & Taylor 2017, arXiv:1708.04552, section 3).

    Part of it may lie outside; 16 pixels is theirs for CIFAR-10.
    """
    inside = [_within((draw() * side).long(), side, length) for side in images.shape[2:]]
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _within(centres: Tensor, side: int, length: int) -> Tensor:
    """Which of `side` places lie in a stretch of `length` around each centre, bool [b, side]."""
    first = centres[:, None] - length // 2
    places = torch.arange(side, device=centres.device)
    return (places >= first) & (places < first + length)
