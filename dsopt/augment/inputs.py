"""From stored uint8 images to a network's inputs: random transforms in training, a fixed transform for evaluation."""

import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.augment.geometry import center_crop, resized
from dsopt.augment.light import standardise
from dsopt.errors import InputError
from dsopt.registry import AUGMENTATIONS, MODELS, call

Standardise = Literal["deviation", "variance"]
Statistics = Sequence[Sequence[float]]  # the mean and the deviation of each channel
MOST = 1.5  # times the side that a network takes: of a larger picture it would see only a small part


class View(NamedTuple):
    """The sides in pixels of the pictures that are loaded for a network, and of what it takes of them, a crop or all."""

    loaded: int
    taken: int


def view_of(name: str, image_size: int) -> View:
    """How a registered network sees images that have `image_size`: never a small part of a picture that nobody asked for.

    Images at most `MOST` times as large as what it takes are used as they are. Larger ones are resized, whole, to what it takes,
    or to the size of the picture of which it takes a crop (its trait `picture`).

    Raises:
        InputError: they are smaller than what it takes.
    """
    traits = MODELS.traits(name)
    size = traits.input_size
    if image_size < size:
        raise InputError(f"data.image_size={image_size}: {name} takes {size} pixels; expected {size} or more.")
    return View(image_size if image_size <= MOST * size else getattr(traits, "picture", size), size)


class Inputs(NamedTuple):
    """The transforms from images to inputs: `train(images, draw)`, `test(images)`, both uint8 [b, c, h, w] -> float [b, c, s, s].

    `mix(inputs, labels, draw)` -> (inputs, probabilities [b, classes]) comes after `train`, for mixup and CutMix; else None.
    `loaded` is the side in pixels to which pictures are best resized when they are loaded; None: they are used as they are.
    """

    train: Callable[[Tensor, UniformDraw], Tensor]
    test: Callable[[Tensor], Tensor]
    mix: Callable[[Tensor, Tensor, UniformDraw], tuple[Tensor, Tensor]] | None = None
    loaded: int | None = None


def mixes(name: str) -> bool:
    """Whether a transform mixes images and their labels (mixup, CutMix)."""
    return getattr(AUGMENTATIONS.traits(call(name)[0]), "mixes", False)


def make_inputs(
    augment: Sequence[str], size: int, by: Standardise | Statistics | None, classes: int | None = None, loaded: int | None = None
) -> Inputs:
    """The transforms to inputs of `size` x `size` pixels in 0..1, standardized per image or by channel, as `by` says.

    Transforms that only move pixels run on bytes, which is a quarter of the memory traffic; the others run on floats in 0..1.
    Transforms that mix images come last, after standardization.

    Args:
        classes: the number of classes, needed if labels are mixed.
        loaded: pictures of more than `MOST` times `size` are resized, whole, to squares of this side first; None: the middle is
            cropped from pictures of any size.

    Raises:
        InputError: a transform mixes labels, and `classes` is None.
    """
    mixing = [name for name in augment if mixes(name)]
    if mixing and classes is None:
        raise InputError(f"augment: {mixing[0]} mixes labels too: it is for train.augment alone.")
    transforms = [(AUGMENTATIONS.traits(call(name)[0]).bytes, _build(name, size)) for name in augment if name not in mixing]

    def seen(images: Tensor) -> Tensor:
        return resized(images, loaded) if loaded and max(images.shape[2:]) > MOST * size else images

    def finish(images: Tensor) -> Tensor:
        # Also if no transform cropped: the network takes this size only.
        images = _floats(center_crop(images, size))
        if by is None or isinstance(by, str):
            return standardise(images, by) if by else images
        mean, deviation = (constant(tuple(values), images.dtype, images.device) for values in by)
        return (images - mean) / deviation

    def train(images: Tensor, draw: UniformDraw) -> Tensor:
        images = seen(images)
        for takes_bytes, transform in transforms:
            images = transform(images if takes_bytes else _floats(images), draw)
        return finish(images)

    def mix(images: Tensor, labels: Tensor, draw: UniformDraw) -> tuple[Tensor, Tensor]:
        assert classes is not None
        labels = labels if labels.is_floating_point() else F.one_hot(labels, classes).float()
        for name in mixing:
            images, labels = AUGMENTATIONS.build(*call(name))(images, labels, draw)
        return images, labels

    return Inputs(train, lambda images: finish(seen(images)), mix if mixing else None, loaded)


@functools.lru_cache(maxsize=16)
def constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number for each channel, [c, 1, 1]; copied to a device once, as the copy waits."""
    return torch.tensor(values, dtype=dtype, device=device)[:, None, None]


def _build(text: str, size: int) -> Callable[..., Tensor]:
    name, options = call(text)
    return AUGMENTATIONS.build(name, ({"size": size} if "size" in AUGMENTATIONS.defaults(name) else {}) | options)


def _floats(images: Tensor) -> Tensor:
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images
