"""Which images are easy, told by a linear classifier of a few pixels in milliseconds."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

SIDE = 4  # pixels of a side; 8 choose hardly better of CIFAR-10 (docs/speed.md)
LOOKED_AT = 16  # pixels of a side that are averaged to these: every second one of 32
RIDGE = 0.01  # of the squared length of a standardized feature
BLOCK = 4096  # images at a time


def easiest(pixels: Float[Tensor, "n f"], labels: Tensor, share: float) -> Bool[Tensor, " n"]:
    """The share of every class's images with the largest margins, at least one, ties broken by the lowest row.

    Args:
        pixels: a few of each image (`few_pixels`).
        labels: numbers [n], or probabilities [n k], of which the largest counts.
    """
    numbers = labels.argmax(1) if labels.ndim == 2 else labels
    score, chosen = margins(pixels, numbers), torch.zeros(len(pixels), dtype=torch.bool, device=labels.device)
    for number in numbers.unique().tolist():
        own = (numbers == number).nonzero().squeeze(1)
        chosen[own[score[own].argsort(descending=True, stable=True)[: max(round(share * len(own)), 1)]]] = True
    return chosen


def few_pixels(images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n f"]:
    """Means of `SIDE` x `SIDE` fields of every image, of pixels evenly spaced in them."""
    rows, columns = (max(length // LOOKED_AT, 1) for length in images.shape[2:])
    fewer = images[:, :, ::rows, ::columns]
    return torch.cat([F.adaptive_avg_pool2d(block.contiguous().float(), SIDE).flatten(1) for block in fewer.split(BLOCK)])


def margins(features: Float[Tensor, "n f"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """By how much a linear classifier that was fitted to all other rows prefers a row's class to the best other class.

    The classifier is ridge regression of the classes, coded as 1 and -1, on standardized features. What it says of a row without
    having seen it follows from one fit of all: y - (y - p) / (1 - h), with h the row's leverage (Allen 1974, PRESS). So a wrong
    label does not teach that it is right. The mean and the deviation are those of all rows.
    """
    n, classes = len(features), int(labels.max()) + 1
    x = (features - features.mean(0)) / features.std(0, correction=0).clamp(min=1e-6)
    x = torch.cat([x, x.new_ones(n, 1)], 1)
    sums = x.new_zeros(classes, x.shape[1]).index_add_(0, labels, x)
    inverse = torch.linalg.inv(x.T @ x + RIDGE * n * torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
    weights = inverse @ (2 * sums - sums.sum(0)).T
    return torch.cat([_margins(*block, inverse, weights) for block in zip(x.split(BLOCK), labels.split(BLOCK), strict=True)])


def _margins(
    x: Float[Tensor, "b f"], labels: Int[Tensor, " b"], inverse: Float[Tensor, "f f"], weights: Float[Tensor, "f k"]
) -> Float[Tensor, " b"]:
    said = x @ weights
    unexplained = 1 - ((x @ inverse) * x).sum(1)
    own = 1 - (1 - said.gather(1, labels[:, None]).squeeze(1)) / unexplained
    if said.shape[1] == 1:
        return own
    others = said.scatter_(1, labels[:, None], -torch.inf).amax(1)  # without a row's own answer, the best one stays the best
    return own - ((1 + others) / unexplained - 1)
