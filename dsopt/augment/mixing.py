"""Mixtures of two images and of their labels: mixup and CutMix.

A transform that mixes is `(images, labels as probabilities, draw, *, options) -> (images, labels)`. Images are mixed in pairs of
neighbours in the batch, 0 with 1, 2 with 3, and so on; the order of the batch is random already. So a batch that is split over
workers is mixed exactly like the whole batch, if the slices have even sizes.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import UniformDraw
from dsopt.registry import AUGMENTATIONS

ImageBatch = Float[Tensor, "b c h w"]
Probabilities = Float[Tensor, "b k"]


@AUGMENTATIONS.register(bytes=False, mixes=True)
def mixup(images: ImageBatch, labels: Probabilities, draw: UniformDraw, *, alpha: float = 1.0) -> tuple[ImageBatch, Probabilities]:
    """Blend every image with another, with a weight from Beta(alpha, alpha) (Zhang et al. 2018, arXiv:1710.09412, eq. 1).

    The authors use alpha = 1 for CIFAR-10. Here a weight is drawn per image; their code draws one per batch.
    """
    share, other = _beta(alpha, draw), _neighbours(len(images), images.device)
    return torch.lerp(images[other], images, share[:, None, None, None]), torch.lerp(labels[other], labels, share[:, None])


@AUGMENTATIONS.register(bytes=False, mixes=True)
def cutmix(images: ImageBatch, labels: Probabilities, draw: UniformDraw, *, alpha: float = 1.0) -> tuple[ImageBatch, Probabilities]:
    """Paste a rectangle of another image; labels are weighted by area (CutMix, Yun et al. 2019, arXiv:1905.04899, eq. 1-2).

    The rectangle has the image's aspect ratio and a random center. Its share of the area, before it is cut at the border, is from
    Beta(alpha, alpha).
    """
    side, other = (1 - _beta(alpha, draw)).sqrt(), _neighbours(len(images), images.device)
    rows, columns = (_interval(draw(), side, length) for length in images.shape[2:])
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    share = 1 - inside.float().mean((1, 2, 3))
    return torch.where(inside, images[other], images), torch.lerp(labels[other], labels, share[:, None])


def _neighbours(count: int, device: torch.device) -> Tensor:
    """The index of the other image of each pair; the last of an odd number is paired with itself."""
    return (torch.arange(count, device=device) ^ 1).clamp(max=count - 1)


def _interval(center: Tensor, share: Tensor, length: int) -> Tensor:
    """Whether each of `length` positions is in an interval of `share` * `length` around `center` * `length`, bool [b, length]."""
    places = torch.arange(length, device=center.device)
    first, half = (center * length).floor()[:, None], (share * length / 2).floor()[:, None]
    return (places >= first - half) & (places < first + half)


def _beta(alpha: float, draw: UniformDraw) -> Tensor:
    """Numbers from Beta(alpha, alpha), for any alpha above 0, each from four uniform numbers (torch's sampler has no such input).

    Ulrich's formula (1984, in Devroye 1986, chapter IX) gives Beta(alpha + 1, alpha + 1), which is distributed like X / (X + Y) for
    X and Y from Gamma(alpha + 1). X and Y times u^(1/alpha) are from Gamma(alpha), so the new ratio is from Beta(alpha, alpha).
    """
    angle, radius = 2 * torch.pi * draw(), (1 - draw() ** (2 / (2 * alpha + 1))).sqrt()
    share = ((1 + angle.cos() * radius) / 2).double()
    one, other = (part * draw().double() ** (1 / alpha) for part in (share, 1 - share))
    return (one / (one + other).clamp_min(torch.finfo(torch.float64).tiny)).float()
