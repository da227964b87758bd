"""From stored uint8 images to a network's inputs: random transforms in training, a fixed transform for evaluation."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.augment.geometry import center_crop
from dsopt.augment.light import standardise
from dsopt.errors import InputError
from dsopt.registry import AUGMENTATIONS, call

Standardise = Literal["deviation", "variance"]


class Inputs(NamedTuple):
    """The transforms from images to inputs: `train(images, draw)`, `test(images)`, both uint8 [b, c, h, w] -> float [b, c, s, s].

    `mix(inputs, labels, draw)` -> (inputs, probabilities [b, classes]) comes after `train`, for mixup and CutMix; else None.
    """

    train: Callable[[Tensor, UniformDraw], Tensor]
    test: Callable[[Tensor], Tensor]
    mix: Callable[[Tensor, Tensor, UniformDraw], tuple[Tensor, Tensor]] | None = None


def mixes(name: str) -> bool:
    """Whether a transform mixes images and their labels (mixup, CutMix)."""
    return getattr(AUGMENTATIONS.traits(call(name)[0]), "mixes", False)


def make_inputs(augment: Sequence[str], size: int, by: Standardise | None, classes: int | None = None) -> Inputs:
    """The transforms to inputs of `size` x `size` pixels in 0..1, standardized per image if `by` is given.

    Transforms that only move pixels run on bytes, which is a quarter of the memory traffic; the others run on floats in 0..1.
    Transforms that mix images come last, after standardization.

    Args:
        classes: the number of classes, needed if labels are mixed.

    Raises:
        InputError: a transform mixes labels, and `classes` is None.
    """
    mixing = [name for name in augment if mixes(name)]
    if mixing and classes is None:
        raise InputError(f"augment: {mixing[0]} mixes labels too: it is for train.augment alone.")
    transforms = [(AUGMENTATIONS.traits(call(name)[0]).bytes, _build(name, size)) for name in augment if name not in mixing]

    def finish(images: Tensor) -> Tensor:
        # Also if no transform cropped: the network takes this size only.
        images = _floats(center_crop(images, size))
        return standardise(images, by) if by else images

    def train(images: Tensor, draw: UniformDraw) -> Tensor:
        for takes_bytes, transform in transforms:
            images = transform(images if takes_bytes else _floats(images), draw)
        return finish(images)

    def mix(images: Tensor, labels: Tensor, draw: UniformDraw) -> tuple[Tensor, Tensor]:
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
