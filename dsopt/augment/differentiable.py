"""DiffAugment: differentiable augmentation of a discriminator's inputs, real and generated (Zhao et al. 2020, arXiv:2006.10738).

With few training images, a discriminator memorizes them; augmented, it never sees the same image twice. The generator's gradient
passes through the transforms. Since real images are transformed, too, the generator does not learn to imitate the transforms.
Images are float in -1..1.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.registry import DIFFERENTIABLE


def differentiable(names: Sequence[str], low: float = -1.0) -> Callable[[Tensor, UniformDraw], Tensor]:
    """The named transforms, applied in order, as one function of (images in `low`..1, draw)."""
    transforms = [DIFFERENTIABLE.build(name) for name in names]
    scale = 2 / (1 - low)

    def augment(images: Tensor, draw: UniformDraw) -> Tensor:
        images = (images - 1) * scale + 1
        for transform in transforms:
            images = transform(images, draw)
        return (images - 1) / scale + 1

    return augment


@DIFFERENTIABLE.register
def color(images: Float[Tensor, "b c h w"], draw: UniformDraw) -> Float[Tensor, "b c h w"]:
    """Change brightness by +-0.5 (a quarter of the range), saturation by a factor of 0 to 2, contrast by 0.5 to 1.5.

    Random per image (arXiv:2006.10738, section 4).
    """
    brighter, saturation, contrast = (draw()[:, None, None, None] for _ in range(3))
    images = images + (brighter - 0.5)
    gray = images.mean(1, keepdim=True)
    images = gray + (images - gray) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (0.5 + contrast)


@DIFFERENTIABLE.register
def translation(images: Float[Tensor, "b c h w"], draw: UniformDraw, *, most: float = 0.125) -> Float[Tensor, "b c h w"]:
    """Shift by whole pixels, up to `most` of a side in each direction, filled with mid-gray (arXiv:2006.10738, section 4)."""
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
def cutout(images: Float[Tensor, "b c h w"], draw: UniformDraw, *, share: float = 0.5) -> Float[Tensor, "b c h w"]:
    """Set a square at a random position to mid-gray; its side is `share` of the image's side (arXiv:2006.10738, section 4)."""
    hidden = torch.ones((), dtype=torch.bool, device=images.device)
    for axis in (2, 3):
        side = images.shape[axis]
        length = int(side * share + 0.5)
        center = (draw() * (side + 1 - length % 2)).long()[:, None]
        place = torch.arange(side, device=images.device) - center + length // 2
        within = (place >= 0) & (place < length)
        hidden = hidden & (within[:, None, :, None] if axis == 2 else within[:, None, None, :])
    return images * ~hidden
