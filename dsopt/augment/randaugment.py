"""RandAugment and TrivialAugment: random operations, at a fixed or at a random strength."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import UniformDraw, on_host
from dsopt.augment.operations import Operation, Reach, change, operations, sorted_by_operation
from dsopt.registry import AUGMENTATIONS

LEVELS = 31  # of strength, from zero to full
STANDARD = operations(Reach(shear=0.3, shift=150 / 331, degrees=30.0, enhance=0.9, bits=(8, 4)), "nearest")
WIDE = operations(Reach(shear=0.99, shift=32.0, degrees=135.0, enhance=0.99, bits=(8, 2)), "nearest")


@AUGMENTATIONS.register(bytes=False, unit=True)
def randaugment(
    images: Float[Tensor, "b c h w"], draw: UniformDraw, *, number: int = 2, magnitude: int = 9
) -> Float[Tensor, "b c h w"]:
    """Apply `number` of 14 operations in sequence, all at the level `magnitude` of 0..30 (Cubuk et al. 2020, arXiv:1909.13719).

    The operations, of which one is the identity, and their ranges are torchvision's. The sign of the strength is random.
    """
    images = images.clone(memory_format=torch.channels_last)
    for _ in range(number):
        _one_of(images, STANDARD, draw, magnitude / (LEVELS - 1))
    return images


@AUGMENTATIONS.register(bytes=False, unit=True)
def trivialaugment_wide(images: Float[Tensor, "b c h w"], draw: UniformDraw) -> Float[Tensor, "b c h w"]:
    """Apply one of 14 operations at one of 31 levels (TrivialAugment "wide", Müller & Hutter 2021, arXiv:2103.10158, table 2).

    The operations are torchvision's, which are the authors'.
    """
    level = (draw() * LEVELS).floor() / (LEVELS - 1)
    return _one_of(images.clone(memory_format=torch.channels_last), WIDE, draw, level)


def _one_of(images: Tensor, some: list[Operation], draw: UniformDraw, level: Tensor | float) -> Tensor:
    """Apply a random operation to every image, in place; the identity is as likely as any operation."""
    numbers = (on_host(draw) * (len(some) + 1)).long()
    (chosen,) = sorted_by_operation(numbers[None], len(some), images.device)
    return change(images, some, chosen, level * torch.where(draw() < 0.5, -1.0, 1.0))
