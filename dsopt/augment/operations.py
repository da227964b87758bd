"""The operations that augmentation policies draw from, each on many images at once with a strength for every one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.augment.affine import Interpolation, turned, warp

LUMA = (0.2989, 0.587, 0.114)

Operation = Callable[[Tensor, Tensor], Tensor]  # images [b, c, h, w] in 0..1, strengths [b] in -1..1 -> images


class Reach(NamedTuple):
    """How far a policy goes at full strength: in pixels a pixel, shares of the side or pixels, degrees, and bits left."""

    shear: float
    shift: float
    degrees: float
    enhance: float
    bits: tuple[int, int]  # left of eight at no strength, and at full


def operations(reach: Reach, interpolation: Interpolation) -> list[Operation]:
    """The 13 operations besides doing nothing, as torchvision has them for AutoAugment's followers.

    On images in 0..1 that are not rounded to bytes between two operations.
    """

    def maps(strength: Tensor, **entries: Tensor) -> Tensor:
        made = torch.eye(2, 3, device=strength.device).expand(len(strength), 2, 3).clone()
        for name, values in entries.items():
            made[:, "xy".index(name[0]), "xy1".index(name[1])] = values
        return made

    def shear_x(images: Tensor, strength: Tensor) -> Tensor:
        slope = reach.shear * strength  # about the upper left corner
        return warp(images, maps(strength, xy=slope, x1=slope * images.shape[2] / 2), interpolation)

    def shear_y(images: Tensor, strength: Tensor) -> Tensor:
        slope = reach.shear * strength
        return warp(images, maps(strength, yx=slope, y1=slope * images.shape[3] / 2), interpolation)

    def shift_x(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, maps(strength, x1=-_pixels(reach.shift, images.shape[3], strength)), interpolation)

    def shift_y(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, maps(strength, y1=-_pixels(reach.shift, images.shape[2], strength)), interpolation)

    def rotation(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, turned(-torch.deg2rad(reach.degrees * strength)), interpolation)

    def brightness(images: Tensor, strength: Tensor) -> Tensor:
        return _away_from(torch.zeros_like(images), images, reach.enhance * strength)

    def colour(images: Tensor, strength: Tensor) -> Tensor:
        return _away_from(_grey(images), images, reach.enhance * strength)

    def contrast(images: Tensor, strength: Tensor) -> Tensor:
        return _away_from(_grey(images).mean((1, 2, 3), keepdim=True), images, reach.enhance * strength)

    def sharpness(images: Tensor, strength: Tensor) -> Tensor:
        return _away_from(_smooth(images), images, reach.enhance * strength)

    def posterize(images: Tensor, strength: Tensor) -> Tensor:
        first, last = reach.bits
        left = (first + (last - first) * strength.abs()).round()
        step = (2 ** (8 - left))[:, None, None, None]
        return ((images * 255).round() / step).floor() * step / 255

    def solarize(images: Tensor, strength: Tensor) -> Tensor:
        return torch.where(images >= 1 - strength.abs()[:, None, None, None], 1 - images, images)

    def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
        low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        return torch.where(high > low, (images - low) / (high - low).clamp_min(1e-6), images)

    def equalize(images: Tensor, strength: Tensor) -> Tensor:
        from torchvision.transforms.v2.functional import equalize_image  # its package takes 4 s to load, in every process

        return equalize_image((images * 255).round().to(torch.uint8)).float() / 255

    geometric = [shear_x, shear_y, shift_x, shift_y, rotation]
    return [*geometric, brightness, colour, contrast, sharpness, posterize, solarize, autocontrast, equalize]


def each(
    images: Float[Tensor, "b c h w"], some: Sequence[Operation], chosen: Int64[Tensor, " b"], strengths: Float[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """Every image after the operation that was chosen for it; those with a number beyond the last stay as they are.

    The result has one plane after the other, as most operations take it (autocontrast: 8 ms instead of 54 for 1,024 images).
    """
    return change(images.clone(memory_format=torch.contiguous_format), some, chosen, strengths)


def change(images: Tensor, some: Sequence[Operation], chosen: Tensor, strengths: Tensor) -> Tensor:
    """The same in place: a chain of operations would spend a sixth of its time on copies of all images."""
    for number, operation in enumerate(some):
        rows = (chosen == number).nonzero().squeeze(1)
        if len(rows):
            images[rows] = operation(images[rows], strengths[rows])
    return images


def _pixels(reach: float, side: int, strength: Tensor) -> Tensor:
    """A shift in whole pixels; a reach of at most 1 is a share of the side."""
    return (strength * (reach * side if reach <= 1 else reach)).trunc()


def _away_from(others: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(others.expand_as(images), images, (1 + factor)[:, None, None, None]).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    return torch.einsum("bchw,c->bhw", images, torch.tensor(LUMA, device=images.device))[:, None]


def _smooth(images: Tensor) -> Tensor:
    """The mean of a pixel and its eight neighbours, itself counting five times, as PIL's filter; pixels at the border stay."""
    rows = images[:, :, :-2] + images[:, :, 1:-1] + images[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    found = images.clone()
    found[:, :, 1:-1, 1:-1] = (around + 4 * images[:, :, 1:-1, 1:-1]) / 13
    return found
