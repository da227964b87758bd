"""Brightness, contrast and standardisation, as in the classic CIFAR-10 pipeline that the selection paper builds on."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import Draw
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=False)
def brightness(images: Float[Tensor, "b c h w"], draw: Draw, *, most: float = 63 / 255) -> Float[Tensor, "b c h w"]:
    """Add the same number in [-most, most] to all pixels of an image.

    Not clipped, as in the pipeline above; the standardisation that follows there takes a shift out again.
    """
    return images + ((2 * draw() - 1) * most)[:, None, None, None]


@AUGMENTATIONS.register(bytes=False)
def contrast(images: Float[Tensor, "b c h w"], draw: Draw, *, low: float = 0.2, high: float = 1.8) -> Float[Tensor, "b c h w"]:
    """Scale the distance of every pixel from the mean of its channel by a factor in [low, high]."""
    factor = (low + (high - low) * draw())[:, None, None, None]
    mean = images.mean((2, 3), keepdim=True)
    # Written out for whole rows: numbers of single channels make inner loops of three pixels' colours (6 times as slow).
    rest = (mean * (1 - factor)).expand(-1, -1, 1, images.shape[3]).contiguous(memory_format=torch.channels_last)
    return (images * factor).add_(rest)


def standardise(images: Float[Tensor, "b c h w"], by: Literal["deviation", "variance"] = "deviation") -> Float[Tensor, "b c h w"]:
    """Subtract an image's mean and divide by its standard deviation (selection paper, section 4.1.1).

    Deviation: the paper's text says variance; the pipeline it builds on divides by the deviation, at least 1/sqrt(pixels),
    and so do we. `by="variance"` is the text to the letter, with the square of that floor.
    """
    size = images[0].numel()
    mean = images.mean((1, 2, 3), keepdim=True)
    centred = images - mean
    variance = centred.square().mean((1, 2, 3), keepdim=True).clamp_min(1 / size)
    return centred / (variance if by == "variance" else variance.sqrt())
