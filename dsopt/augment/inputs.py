"""From stored uint8 images to what a network takes: the transforms of training, and their fixed counterpart for tests."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.augment import Draw
from dsopt.augment.geometry import centre_crop
from dsopt.augment.light import standardise
from dsopt.errors import InputError
from dsopt.registry import AUGMENTATIONS, call

Standardise = Literal["deviation", "variance"]


class Inputs(NamedTuple):
    """How images become inputs: `train(images, draw)` and `test(images)`, both uint8 [b, c, h, w] -> float [b, c, s, s].

    `mix(inputs, labels, draw)` -> inputs and probabilities [b, classes], where images are mixed with others in training.
    """

    train: Callable[[Tensor, Draw], Tensor]
    test: Callable[[Tensor], Tensor]
    mix: Callable[[Tensor, Tensor, Draw], tuple[Tensor, Tensor]] | None = None


def mixes(name: str) -> bool:
    """Whether a transform mixes images and their labels."""
    return getattr(AUGMENTATIONS.traits(call(name)[0]), "mixes", False)


def make_inputs(augment: Sequence[str], size: int, by: Standardise | None, classes: int | None = None) -> Inputs:
    """Inputs of `size` pixels in 0..1, standardised per image if `by` is given.

    Transforms that move pixels run on bytes, a quarter of the memory traffic; the others on floats in 0..1. Those that mix images
    come last, on what is standardised already.

    Args:
        classes: how many there are, for labels that are mixed.

    Raises:
        InputError: a transform that mixes where there are no classes to mix.
    """
    mixing = [name for name in augment if mixes(name)]
    if mixing and classes is None:
        raise InputError(f"augment: {mixing[0]} mixes labels too: it is for train.augment alone.")
    transforms = [(AUGMENTATIONS.traits(call(name)[0]).bytes, _build(name, size)) for name in augment if name not in mixing]

    def finish(images: Tensor) -> Tensor:
        # Also where no transform cropped: the network's size is not negotiable.
        images = _floats(centre_crop(images, size))
        return standardise(images, by) if by else images

    def train(images: Tensor, draw: Draw) -> Tensor:
        for takes_bytes, transform in transforms:
            images = transform(images if takes_bytes else _floats(images), draw)
        return finish(images)

    def mix(images: Tensor, labels: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        assert classes is not None
        labels = labels if labels.is_floating_point() else F.one_hot(labels, classes).float()
        for name in mixing:
            images, labels = AUGMENTATIONS.build(*call(name))(images, labels, draw)
        return images, labels

    return Inputs(train, finish, mix if mixing else None)


def _build(text: str, size: int) -> Callable[..., Tensor]:
    name, options = call(text)
    return AUGMENTATIONS.build(name, ({"size": size} if "size" in AUGMENTATIONS.defaults(name) else {}) | options)


def _floats(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
