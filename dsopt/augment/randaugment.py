"""RandAugment and TrivialAugment: operations by chance, at one strength or at any."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import Draw
from dsopt.augment.operations import Operation, Reach, change, operations
from dsopt.registry import AUGMENTATIONS

LEVELS = 31  # of strength, from none to full
CAREFUL = operations(Reach(shear=0.3, shift=150 / 331, degrees=30.0, enhance=0.9, bits=(8, 4)), "nearest")
WIDE = operations(Reach(shear=0.99, shift=32.0, degrees=135.0, enhance=0.99, bits=(8, 2)), "nearest")


@AUGMENTATIONS.register(bytes=False, unit=True)
def randaugment(images: Float[Tensor, "b c h w"], draw: Draw, *, number: int = 2, magnitude: int = 9) -> Float[Tensor, "b c h w"]:
    """Apply so many of 14 operations one after another, all at one level of 0..30 (Cubuk et al. 2020, arXiv:1909.13719).

    The operations and how far they go are torchvision's; one of them is to do nothing, and left or right, more or less is drawn.
    """
    images = images.clone(memory_format=torch.channels_last)
    for _ in range(number):
        _one_of(images, CAREFUL, draw, magnitude / (LEVELS - 1))
    return images


@AUGMENTATIONS.register(bytes=False, unit=True)
def trivialaugment_wide(images: Float[Tensor, "b c h w"], draw: Draw) -> Float[Tensor, "b c h w"]:
    """Apply one of 14 operations at any of 31 levels (TrivialAugment "wide", Müller & Hutter 2021, arXiv:2103.10158, table 2).

    With torchvision's operations, which are the authors'.
    """
    level = (draw() * LEVELS).floor() / (LEVELS - 1)
    return _one_of(images.clone(memory_format=torch.channels_last), WIDE, draw, level)


def _one_of(images: Tensor, some: list[Operation], draw: Draw, level: Tensor | float) -> Tensor:
    """Every image, in place, after one of the operations, or after none: that is as likely as any."""
    chosen = (draw() * (len(some) + 1)).long()
    return change(images, some, chosen, level * torch.where(draw() < 0.5, -1.0, 1.0))
