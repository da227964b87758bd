"""Crops and flips."""

import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.errors import InputError
from dsopt.registry import AUGMENTATIONS


@AUGMENTATIONS.register(bytes=True)
def crop(images: Shaped[Tensor, "b c h w"], draw: UniformDraw, *, size: int = 24) -> Shaped[Tensor, "b c s s"]:
    """Crop a square of `size` pixels at a random position, a different one for every image. Raises InputError: they are smaller."""
    _check_sides(images, size)
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # [b, c, tops, lefts, s, s], a view
    top = (draw() * windows.shape[2]).long()
    left = (draw() * windows.shape[3]).long()
    # One gather for the whole batch; its result is channels-last like the images.
    return windows[torch.arange(len(images), device=images.device), :, top, left]


@AUGMENTATIONS.register(bytes=True)
def random_resized_crop(
    images: Shaped[Tensor, "b c h w"], draw: UniformDraw, *, size: int = 224, least: float = 0.08, stretch: float = 4 / 3
) -> Shaped[Tensor, "b c s s"]:
    """Crop a random part of every image and resize it to `size` pixels a side (Szegedy et al. 2015, arXiv:1409.4842, section 6).

    A part that would be longer than the image is cut to it, where torchvision draws again. Bilinear, and antialiased on CPUs.

    Args:
        least: the smallest share of an image's area.
        stretch: the largest ratio of width to height, and of height to width.
    """
    area, ratio = least + (1 - least) * draw(), stretch ** (2 * draw() - 1)
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # as shares of the image's sides
    left, top = (1 - width) * draw(), (1 - height) * draw()
    if images.device.type != "cpu":  # one kernel for all, where many small ones would wait for their launches
        x, y, zero = 2 * left + width - 1, 2 * top + height - 1, torch.zeros_like(area)  # of the center, in -1..1
        maps = torch.stack([width, zero, x, zero, height, y], 1).view(-1, 2, 3)
        grid = F.affine_grid(maps, [*images.shape[:2], size, size], align_corners=False)
        found = F.grid_sample(images.float(), grid, "bilinear", "border", align_corners=False)
        return found if images.is_floating_point() else found.round().to(images.dtype)
    # Image by image, in torch's vectorized code for bytes: 64 images from 256 to 224 pixels in 9 to 19 ms, by grid_sample in 97.
    rows, columns = images.shape[2:]
    sides = [(share * full).round().long().clamp(1, full).tolist() for share, full in ((height, rows), (width, columns))]
    starts = [(share * full).floor().long().tolist() for share, full in ((top, rows), (left, columns))]
    parts = [
        image[:, :, min(y, rows - h) :, min(x, columns - w) :][:, :, :h, :w]
        for image, h, w, y, x in zip(images.split(1), *sides, *starts, strict=True)
    ]
    return torch.cat([F.interpolate(part, (size, size), mode="bilinear", antialias=True) for part in parts])


def center_crop(images: Shaped[Tensor, "b c h w"], size: int) -> Shaped[Tensor, "b c s s"]:
    """Crop the central square of `size` pixels, as the papers do for testing. Raises InputError: the images are smaller."""
    _check_sides(images, size)
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]


def _check_sides(images: Tensor, size: int) -> None:
    height, width = images.shape[2:]
    if min(height, width) < size:  # a slice would quietly be a small corner
        raise InputError(f"images of {height} x {width} pixels: no square of {size} can be cut from them; expected larger images.")


def resized(images: Shaped[Tensor, "b c h w"], size: int) -> Shaped[Tensor, "b c s s"]:
    """Resize whole images, antialiased, to squares of `size` pixels; of the same type, and differentiable for floats."""
    floats = images if images.is_floating_point() else images.to(torch.float32)
    found = F.interpolate(floats, (size, size), mode="bilinear", antialias=True)
    return found if images.is_floating_point() else found.round().to(images.dtype)


@AUGMENTATIONS.register(bytes=True)
def flip(images: Shaped[Tensor, "b c h w"], draw: UniformDraw) -> Shaped[Tensor, "b c h w"]:
    """Flip every image horizontally with probability 1/2."""
    # Select whole images from the batch and its mirrored copy: for bytes, twice as fast as torch.where per pixel.
    last = images.is_contiguous(memory_format=torch.channels_last)
    rows = images.permute(0, 2, 3, 1) if last else images
    both = torch.cat([rows, rows.flip(2 if last else 3)])
    found = both.index_select(0, torch.arange(len(rows), device=rows.device) + len(rows) * (draw() < 0.5))
    return found.permute(0, 3, 1, 2) if last else found


@AUGMENTATIONS.register(bytes=True)
def shift(images: Shaped[Tensor, "b c h w"], draw: UniformDraw, *, most: int = 4) -> Shaped[Tensor, "b c h w"]:
    """Shift every image by up to `most` pixels in each direction, filled with black: "pad and crop" (He et al. 2016, section 4.2).

    The size of the images does not change; `crop` is for networks that take smaller images.
    """
    height, width = images.shape[2:]
    windows = F.pad(images, [most] * 4).unfold(2, height, 1).unfold(3, width, 1)
    top, left = ((draw() * (2 * most + 1)).long() for _ in range(2))
    return windows[torch.arange(len(images), device=images.device), :, top, left]
