"""Affine maps, another one for every image, and rotations."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import Draw
from dsopt.augment.blocks import in_blocks
from dsopt.registry import AUGMENTATIONS

Interpolation = Literal["nearest", "bilinear"]
Padding = Literal["zeros", "border"]


@AUGMENTATIONS.register(bytes=False)
def rotate(
    images: Float[Tensor, "b c h w"], draw: Draw, *, degrees: float = 25.0, padding: Padding = "zeros"
) -> Float[Tensor, "b c h w"]:
    """Turn every image about its centre by an angle within +-degrees (augmentation paper, section 2.3: ROT).

    The paper does not say what fills the corners: black, or with `border` the nearest pixel of the image.
    """
    radians = torch.deg2rad((2 * draw() - 1) * degrees)
    return in_blocks(lambda some, angles: warp(some, turned(angles), "bilinear", padding), images, radians)


def turned(radians: Float[Tensor, " b"]) -> Float[Tensor, "b 2 3"]:
    """The maps of `warp` that turn images clockwise."""
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    return torch.stack([cos, sin, zero, -sin, cos, zero], 1).view(-1, 2, 3)


def warp(
    images: Float[Tensor, "b c h w"],
    maps: Float[Tensor, "b 2 3"],
    interpolation: Interpolation = "bilinear",
    padding: Padding = "zeros",
) -> Float[Tensor, "b c h w"]:
    """Images whose pixel at p is the image's at `maps` @ (p, 1), both in pixels right and down of the centre."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    scale = torch.tensor([[2 / width], [2 / height]], device=images.device)  # to the -1..1 of torch's sampling
    # All x, then all y [2, b, h, w]: 7 times as fast as pairs. Sums of products: for products of matrices they are too small.
    of_x, of_y, of_1 = (maps * scale).transpose(0, 1).unbind(2)
    grid = of_x[:, :, None, None] * x + (of_y[:, :, None] * y + of_1[:, :, None])[..., None]
    # Planes first is faster (1,024 images of 32x32x3 on a CPU, nearest: 17 against 27 ms).
    return F.grid_sample(images.contiguous(), grid.permute(1, 2, 3, 0), interpolation, padding, align_corners=False)
