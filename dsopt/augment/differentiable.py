"""DiffAugment: transforms of all that a discriminator sees, real and made, through which the generator's gradient passes.

With few training images a discriminator learns them by heart; so it never sees the same one twice, and the generator learns no
transforms, as the real images have them too (Zhao et al. 2020, arXiv:2006.10738). Images are float in -1..1.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.augment import Draw
from dsopt.registry import DIFFERENTIABLE


def differentiable(names: Sequence[str], low: float = -1.0) -> Callable[[Tensor, Draw], Tensor]:
    """(images from `low` to 1, draw) -> images: the named transforms, in order."""
    transforms = [DIFFERENTIABLE.build(name) for name in names]
    scale = 2 / (1 - low)

    def augment(images: Tensor, draw: Draw) -> Tensor:
        images = (images - 1) * scale + 1
        for transform in transforms:
            images = transform(images, draw)
        return (images - 1) / scale + 1

    return augment


@DIFFERENTIABLE.register
def colour(images: Float[Tensor, "b c h w"], draw: Draw) -> Float[Tensor, "b c h w"]:
    """Brightness by up to a quarter of the range, saturation by up to 2, contrast by 0.5 to 1.5 (arXiv:2006.10738, section 4)."""
    brighter, saturation, contrast = (draw()[:, None, None, None] for _ in range(3))
    images = images + (brighter - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.5 + contrast)


@DIFFERENTIABLE.register
def translation(images: Float[Tensor, "b c h w"], draw: Draw, *, most: float = 0.125) -> Float[Tensor, "b c h w"]:
    """Move by whole pixels, up to `most` of a side each way; what comes in is mid-grey (arXiv:2006.10738, section 4)."""
    for axis in (2, 3):
        side = images.shape[axis]
        reach = int(side * most + 0.5)
        images = _moved(images, (draw() * (2 * reach + 1)).long() - reach, axis)
    return images


def _moved(images: Float[Tensor, "b c h w"], shift: Int[Tensor, " b"], axis: int) -> Float[Tensor, "b c h w"]:
    side = images.shape[axis]
    shape = (-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side)
    source = (torch.arange(side, device=images.device) + shift[:, None]).view(shape)
    inside = (source >= 0) & (source < side)
    return images.gather(axis, source.clamp(0, side - 1).expand(images.shape)) * inside


@DIFFERENTIABLE.register
def cutout(images: Float[Tensor, "b c h w"], draw: Draw, *, share: float = 0.5) -> Float[Tensor, "b c h w"]:
    """Make a square of `share` of a side mid-grey, its centre anywhere (arXiv:2006.10738, section 4)."""
    hidden = torch.ones((), dtype=torch.bool, device=images.device)
    for axis in (2, 3):
        side = images.shape[axis]
        length = int(side * share + 0.5)
        centre = (draw() * (side + 1 - length % 2)).long()[:, None]
        place = torch.arange(side, device=images.device) - centre + length // 2
        within = (place >= 0) & (place < length)
        hidden = hidden & (within[:, None, :, None] if axis == 2 else within[:, None, None, :])
    return images * ~hidden
