"""The operations of augmentation policies, each applied to many images at once, with a strength per image."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from dsopt.augment.affine import Interpolation, rotation_maps, warp
from dsopt.data.batches import moved

LUMA = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue, from ITU-R BT.601

Operation = Callable[[Tensor, Tensor], Tensor]  # images [b, c, h, w] in 0..1, strengths [b] in -1..1 -> images


class Reach(NamedTuple):
    """The ranges of a policy's operations: their parameters at full strength."""

    shear: float  # pixels per pixel
    shift: float  # a share of the side if at most 1, else pixels
    degrees: float
    enhance: float  # for brightness, color, contrast and sharpness: the factor is 1 +- enhance
    bits: tuple[int, int]  # of 8, kept at zero and at full strength


def operations(reach: Reach, interpolation: Interpolation) -> list[Operation]:
    """The 13 operations of AutoAugment and its successors, without the identity, as in torchvision.

    Images are in 0..1; unlike torchvision's, they are not rounded to bytes between two operations.
    """

    def maps(strength: Tensor, **entries: Tensor) -> Tensor:
        """Identity matrices except for the given entries: `xy` is row x, column y; `x1` is the translation of x."""
        matrices = torch.eye(2, 3, device=strength.device).expand(len(strength), 2, 3).clone()
        for name, values in entries.items():
            matrices[:, "xy".index(name[0]), "xy1".index(name[1])] = values
        return matrices

    def shear_x(images: Tensor, strength: Tensor) -> Tensor:
        shear = reach.shear * strength  # about the upper left corner
        return warp(images, maps(strength, xy=shear, x1=shear * images.shape[2] / 2), interpolation)

    def shear_y(images: Tensor, strength: Tensor) -> Tensor:
        shear = reach.shear * strength
        return warp(images, maps(strength, yx=shear, y1=shear * images.shape[3] / 2), interpolation)

    def shift_x(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, maps(strength, x1=-_pixels(reach.shift, images.shape[3], strength)), interpolation)

    def shift_y(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, maps(strength, y1=-_pixels(reach.shift, images.shape[2], strength)), interpolation)

    def rotation(images: Tensor, strength: Tensor) -> Tensor:
        return warp(images, rotation_maps(-torch.deg2rad(reach.degrees * strength)), interpolation)

    def brightness(images: Tensor, strength: Tensor) -> Tensor:
        return (images * _wide(1 + reach.enhance * strength)).clamp_(0, 1)

    def color(images: Tensor, strength: Tensor) -> Tensor:
        planes = images.contiguous()
        return _away_from(_gray(planes), planes, reach.enhance * strength)

    def contrast(images: Tensor, strength: Tensor) -> Tensor:
        return _away_from(_gray(images.mean((2, 3), keepdim=True)), images, reach.enhance * strength)

    def sharpness(images: Tensor, strength: Tensor) -> Tensor:
        """Away from the mean over the 3x3 neighbourhood, where the pixel itself has weight 5, as in PIL; border pixels are kept."""
        part, found = _wide(reach.enhance * strength / 13), images.clamp(0, 1)
        rows = (images[:, :, :-2] + images[:, :, 1:-1]).add_(images[:, :, 2:])
        around = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
        found[:, :, 1:-1, 1:-1].mul_(1 + 9 * part).sub_(around.mul_(part)).clamp_(0, 1)
        return found

    def posterize(images: Tensor, strength: Tensor) -> Tensor:
        first, last = reach.bits
        step = _wide(2 ** (8 - (first + (last - first) * strength.abs()).round()))
        return (images * 255).round_().div_(step).floor_().mul_(step / 255)

    def solarize(images: Tensor, strength: Tensor) -> Tensor:
        inverted = (images >= _wide(1 - strength.abs())).float()
        return inverted.mul_(1 - 2 * images).add_(images)  # takes two thirds of the time of torch.where

    def autocontrast(images: Tensor, strength: Tensor) -> Tensor:
        planes = images.contiguous()  # reductions over contiguous planes are 6 times as fast as over channels-last memory
        low, high = planes.amin((2, 3), keepdim=True), planes.amax((2, 3), keepdim=True)
        flat = low == high
        return (planes - low.masked_fill(flat, 0)).div_((high - low).masked_fill_(flat, 1))

    def equalize(images: Tensor, strength: Tensor) -> Tensor:
        planes = images.shape[0] * images.shape[1]
        values = (images.contiguous() * 255).round_().clamp_(0, 255).to(torch.int32).view(planes, -1)
        values += torch.arange(0, 256 * planes, 256, dtype=torch.int32, device=images.device)[:, None]  # 256 bins per plane
        table = _equal(_counts(values.view(-1), 256 * planes).view(planes, 256))
        return table.view(-1).index_select(0, values.view(-1)).view(images.shape)

    geometric = [shear_x, shear_y, shift_x, shift_y, rotation]
    return [*geometric, brightness, color, contrast, sharpness, posterize, solarize, autocontrast, equalize]


class Chosen(NamedTuple):
    """The images of a batch by the operation chosen for them: their places on the device, in a row; and how many each has."""

    places: Int64[Tensor, " b"]
    counts: list[int]


def sorted_by_operation(chosen: Int64[Tensor, "n b"], operations: int, device: torch.device) -> list[Chosen]:
    """For n changes of a batch, the numbers of the operations that were chosen for its images, 0 to `operations` (none), sorted.

    Args:
        chosen: on the CPU, where the random numbers are drawn: what lies on a GPU would have to be waited for.
    """
    places = moved(chosen.argsort(1), device)
    counts = [row.bincount(minlength=operations + 1).tolist() for row in chosen]
    return [Chosen(*each) for each in zip(places, counts, strict=True)]


def change(
    images: Float[Tensor, "b c h w"], some: Sequence[Operation], chosen: Chosen, strengths: Float[Tensor, " b"]
) -> Float[Tensor, "b c h w"]:
    """Apply to every image, in place, the operation chosen for it; images with the number `len(some)` are not changed.

    Images are channels-last. Each operation gets a copy of its images, in the layout it needs, small enough for the CPU cache.
    Sorting the whole batch by operation instead is 1.6 times as slow, because of the memory it allocates (see `blocks`).
    """
    rows = images.permute(0, 2, 3, 1)
    flat = rows.view(len(images), images.shape[1:].numel())
    for operation, places in zip(some, chosen.places.split(chosen.counts), strict=False):
        if len(places):
            found = operation(rows.index_select(0, places).permute(0, 3, 1, 2), strengths[places])
            flat.index_copy_(0, places, found.permute(0, 2, 3, 1).reshape(len(places), -1))
    return images


def _pixels(reach: float, side: int, strength: Tensor) -> Tensor:
    """A shift in whole pixels; see `Reach.shift`."""
    return (strength * (reach * side if reach <= 1 else reach)).trunc()


def _wide(numbers: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return numbers[:, None, None, None]


def _away_from(others: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Extrapolate from `others` through `images`: a factor of 0 gives the images, -1 the others."""
    factor = _wide(1 + factor)
    return (images * factor).add_(others * (1 - factor)).clamp_(0, 1)


def _gray(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, 1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _counts(values: Int[Tensor, " n"], most: int) -> Float[Tensor, " m"]:
    """How often each number below `most` occurs."""
    if values.device.type == "cpu":
        return values.bincount(minlength=most).float()
    # For a GPU `bincount` would wait, to know the largest number.
    return torch.zeros(most, device=values.device).index_add_(0, values, torch.ones(len(values), device=values.device))


def _equal(counts: Float[Tensor, "n 256"]) -> Float[Tensor, "n 256"]:
    """The lookup tables of histogram equalization, as in PIL and torchvision: for every byte, its new value in 0..1.

    Counts are floats instead of integers, which is faster, and exact for planes below 2**23 pixels.
    """
    below = counts.cumsum(1) - counts
    # The number of pixels below the largest value, over 255.
    step = (below * (below < counts.sum(1, keepdim=True))).amax(1, keepdim=True).div_(255).floor_()
    spread = (below + (step / 2).floor_()).div_(step.clamp_min(1)).floor_().clamp_max_(255)
    return torch.where(step > 0, spread, torch.arange(256, device=counts.device)).div_(255)
