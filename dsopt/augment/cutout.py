"""Cutout: a black square in every image."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=True)
def cutout(images: Shaped[Tensor, "b c h w"], draw: UniformDraw, *, length: int = 16) -> Shaped[Tensor, "b c h w"]:
    """Set a square of `length` pixels around a random pixel to black (DeVries & Taylor 2017, arXiv:1708.04552, section 3).

    A part of the square may be outside of the image. The authors use 16 pixels for CIFAR-10.
    """
    inside = [_within((draw() * side).long(), side, length) for side in images.shape[2:]]
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _within(centers: Tensor, side: int, length: int) -> Tensor:
    """Whether each of `side` positions is in an interval of `length` around each center, bool [b, side]."""
    first = centers[:, None] - length // 2
    places = torch.arange(side, device=centers.device)
    return (places >= first) & (places < first + length)
