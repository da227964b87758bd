"""From stored uint8 images to what a network takes: the transforms of training, and their fixed counterpart for tests."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from dsopt.augment import Draw
from dsopt.augment.geometry import centre_crop
from dsopt.augment.light import standardise
from dsopt.registry import AUGMENTATIONS

Standardise = Literal["deviation", "variance"]


class Inputs(NamedTuple):
    """How images become inputs: `train(images, draw)` and `test(images)`, both uint8 [b, c, h, w] -> float [b, c, s, s]."""

    train: Callable[[Tensor, Draw], Tensor]
    test: Callable[[Tensor], Tensor]


def make_inputs(augment: Sequence[str], size: int, by: Standardise | None) -> Inputs:
    """Inputs of `size` pixels in 0..1, standardised per image if `by` is given.

    Transforms that move pixels run on bytes, a quarter of the memory traffic; the others on floats in 0..1.
    """
    transforms = [(AUGMENTATIONS.traits(name).bytes, _build(name, size)) for name in augment]

    def finish(images: Tensor) -> Tensor:
        # Also where no transform cropped: the network's size is not negotiable.
        images = _floats(centre_crop(images, size))
        return standardise(images, by) if by else images

    def train(images: Tensor, draw: Draw) -> Tensor:
        for takes_bytes, transform in transforms:
            images = transform(images if takes_bytes else _floats(images), draw)
        return finish(images)

    return Inputs(train, finish)


def _build(name: str, size: int) -> Callable[..., Tensor]:
    return AUGMENTATIONS.build(name, {"size": size} if "size" in AUGMENTATIONS.defaults(name) else {})


def _floats(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
