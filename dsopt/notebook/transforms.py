"""Transforms of batches."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dsopt.augment import draws
from dsopt.augment.inputs import Inputs, make_inputs, mixes
from dsopt.errors import InputError
from dsopt.registry import call


def transforms(names: Sequence[str], *, size: int | None = None, classes: int | None = None) -> "Transforms":
    """Training transforms of whole batches, in order, drawn for every image, on the device the images are on.

    Args:
        names: registered transforms, with options where wanted: ["flip", "shift(most=2)"].
        size: pixels a side of what is given back, its middle; not given: that of `crop(size=...)`, or of the images.
        classes: how many there are; needed by transforms that mix images (`mixup`, `cutmix`), which mix their labels too.

    Raises:
        InputError: an unknown name or option, or no `classes` for a transform that mixes.
    """
    size = size or next((options["size"] for _, options in map(call, names) if "size" in options), None)
    mixing = [name for name in names if mixes(name)]
    if mixing and classes is None:
        raise InputError(f"transforms: {mixing[0]} mixes labels too: give classes=, how many there are.")
    make_inputs(names, size or 1, None, classes)  # refuses unknown names and options now, not in the loop
    return Transforms(tuple(names), size, classes)


class Transforms(NamedTuple):
    """A list of transforms; see `transforms`."""

    names: tuple[str, ...]
    size: int | None
    classes: int | None

    def __call__(self, images: Tensor, labels: Tensor | None = None, *, seed: int | None = None) -> Any:
        """Images [b, c, h, w], uint8 or float in 0..1 -> float in 0..1 [b, c, s, s].

        With transforms that mix, from images and labels (int64 [b] or probabilities [b, classes]): both, labels as probabilities.

        Args:
            seed: of what is drawn; not given: from torch's global generator.
        """
        inputs, count = self._inputs(images), len(images)
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        draw = draws(seed, count, 0, count, images.device)
        if inputs.mix is None:
            return inputs.train(images, draw)
        if labels is None:
            raise InputError(f"transforms: {', '.join(self.names)}: mixes labels too; call it with images and labels.")
        return inputs.mix(inputs.train(images, draw), labels, draw)

    def _inputs(self, images: Tensor) -> Inputs:
        height, width = images.shape[2:]
        if self.size is None and height != width:
            raise InputError(f"transforms: images of {height} x {width} pixels: give size=, the side of the square to cut.")
        return _inputs(self.names, self.size or height, self.classes)


@functools.cache
def _inputs(names: tuple[str, ...], size: int, classes: int | None) -> Inputs:
    return make_inputs(names, size, None, classes)
