"""Gaussian blur, with a different strength for every image."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.augment.blocks import in_blocks
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=False)
def blur(images: Float[Tensor, "b c h w"], draw: UniformDraw, *, low: float = 0.25, high: float = 2.25) -> Float[Tensor, "b c h w"]:
    """Convolve images with Gaussians whose standard sigmas are in [low, high] pixels (augmentation paper, section 2.3: BLUR).

    The kernel is cut off at three times `high`; beyond their borders, images are mirrored.
    """
    radius = math.ceil(3 * high)
    return in_blocks(lambda some, sigmas: _blurred(some, sigmas, radius), images, low + (high - low) * draw())


def _blurred(images: Float[Tensor, "b c h w"], sigmas: Float[Tensor, " b"], radius: int) -> Float[Tensor, "b c h w"]:
    """Blur columns, then rows, by two batched matrix products whose layouts need no copies.

    Measured on a CPU with 32x32x3: separate products for every plane take 1.6 times as long, a grouped convolution 3 times that.
    """
    count, channels, height, width = images.shape
    smoothing = {side: _smoothing(sigmas, side, min(radius, side - 1)) for side in {height, width}}
    rows = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    lines = rows.reshape(count, height, width * channels).transpose(1, 2)
    columns = (lines @ smoothing[height].transpose(1, 2)).view(count, width, channels * height)
    return (smoothing[width] @ columns).view(count, width, channels, height).permute(0, 2, 3, 1)


def _smoothing(sigmas: Float[Tensor, " b"], side: int, radius: int) -> Float[Tensor, "b side side"]:
    """For every standard deviation, the matrix that blurs a column of `side` pixels."""
    taps = torch.arange(-radius, radius + 1, device=sigmas.device)
    kernels = torch.exp(-(taps**2) / (2 * sigmas[:, None] ** 2))
    kernels = kernels / kernels.sum(1, keepdim=True)
    at = (torch.arange(side, device=taps.device)[:, None] + taps).abs()
    mirrored = torch.where(at >= side, 2 * (side - 1) - at, at)
    shape = (len(sigmas), side, len(taps))
    return kernels.new_zeros(len(sigmas), side, side).scatter_add_(2, mirrored.expand(shape), kernels[:, None].expand(shape))
