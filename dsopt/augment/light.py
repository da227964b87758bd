"""Brightness, contrast and standardization, as in the classic CIFAR-10 pipeline on which the selection paper builds."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=False)
def brightness(images: Float[Tensor, "b c h w"], draw: UniformDraw, *, most: float = 63 / 255) -> Float[Tensor, "b c h w"]:
    """Add the same random number in [-most, most] to all pixels of an image.

    The result is not clipped, as in the CIFAR-10 pipeline. There, the standardization that follows removes this shift again.
    """
    return images + ((2 * draw() - 1) * most)[:, None, None, None]


@AUGMENTATIONS.register(bytes=False)
def contrast(
    images: Float[Tensor, "b c h w"], draw: UniformDraw, *, low: float = 0.2, high: float = 1.8
) -> Float[Tensor, "b c h w"]:
    """Scale the distance of every pixel from the mean of its channel by a factor in [low, high]."""
    factor = (low + (high - low) * draw())[:, None, None, None]
    mean = images.mean((2, 3), keepdim=True)
    # Expanded to whole rows: with one number per channel, torch's inner loops have the length 3, which is 6 times as slow.
    rest = (mean * (1 - factor)).expand(-1, -1, 1, images.shape[3]).contiguous(memory_format=torch.channels_last)
    return (images * factor).add_(rest)


def standardise(images: Float[Tensor, "b c h w"], by: Literal["deviation", "variance"] = "deviation") -> Float[Tensor, "b c h w"]:
    """Subtract an image's mean and divide by its standard deviation (selection paper, section 4.1.1).

    Deviation from the paper: its text says variance. The pipeline on which it builds divides by the standard deviation, or
    1/sqrt(pixels) if that is larger, and so does `by="deviation"`. `by="variance"` follows the text, with the square of that bound.
    """
    size = images[0].numel()
    mean = images.mean((1, 2, 3), keepdim=True)
    centered = images - mean
    variance = centered.square().mean((1, 2, 3), keepdim=True).clamp_min(1 / size)
    return centered / (variance if by == "variance" else variance.sqrt())
