"""Mixtures of two images, whose labels are mixed alike.

A transform that mixes is `(images, labels as probabilities, draw, *, options) -> (images, labels)`. An image is mixed with its
neighbour in the batch, which is drawn by chance already: 0 with 1, 2 with 3, and so on, so that a batch split over workers is mixed
as in one piece wherever their slices are even.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.augment import Draw
from dsopt.registry import AUGMENTATIONS

Images = Float[Tensor, "b c h w"]
Probabilities = Float[Tensor, "b k"]


@AUGMENTATIONS.register(bytes=False, mixes=True)
def mixup(images: Images, labels: Probabilities, draw: Draw, *, alpha: float = 1.0) -> tuple[Images, Probabilities]:
    """Blend every image with another, at a share from Beta(alpha, alpha) (Zhang et al. 2018, arXiv:1710.09412, eq. 1).

    alpha = 1 is theirs for CIFAR-10. The share is drawn for every image; their code draws one for a batch.
    """
    share, other = _beta(alpha, draw), _neighbours(len(images), images.device)
    return torch.lerp(images[other], images, share[:, None, None, None]), torch.lerp(labels[other], labels, share[:, None])


@AUGMENTATIONS.register(bytes=False, mixes=True)
def cutmix(images: Images, labels: Probabilities, draw: Draw, *, alpha: float = 1.0) -> tuple[Images, Probabilities]:
    """Put a rectangle of another image over every image; its label counts by the area (Yun et al. 2019, arXiv:1905.04899, eq. 1-2).

    The rectangle has the image's proportions, any centre, and before it is cut at the border an area share from Beta(alpha, alpha).
    """
    side, other = (1 - _beta(alpha, draw)).sqrt(), _neighbours(len(images), images.device)
    rows, columns = (_stretch(draw(), side, length) for length in images.shape[2:])
    inside = rows[:, None, :, None] & columns[:, None, None, :]
    share = 1 - inside.float().mean((1, 2, 3))
    return torch.where(inside, images[other], images), torch.lerp(labels[other], labels, share[:, None])


def _neighbours(count: int, device: torch.device) -> Tensor:
    """The other of each pair; the last of an odd number is its own."""
    return (torch.arange(count, device=device) ^ 1).clamp(max=count - 1)


def _stretch(centre: Tensor, share: Tensor, length: int) -> Tensor:
    """Which of `length` places lie in a stretch of a share of them around each centre in 0..1, bool [b, length]."""
    places = torch.arange(length, device=centre.device)
    first, half = (centre * length).floor()[:, None], (share * length / 2).floor()[:, None]
    return (places >= first - half) & (places < first + half)


def _beta(alpha: float, draw: Draw) -> Tensor:
    """Numbers from Beta(alpha, alpha), of any alpha above 0, from four uniform ones each.

    Ulrich's formula (1984, in Devroye 1986, chapter IX) for Beta(alpha + 1, alpha + 1), which is the share that one of two gammas
    of alpha + 1 has of both; times u^(1/alpha) each, these are gammas of alpha. The tests compare with torch's.
    """
    angle, radius = 2 * torch.pi * draw(), (1 - draw() ** (2 / (2 * alpha + 1))).sqrt()
    share = ((1 + angle.cos() * radius) / 2).double()
    one, other = (part * draw().double() ** (1 / alpha) for part in (share, 1 - share))
    return (one / (one + other).clamp_min(torch.finfo(torch.float64).tiny)).float()
