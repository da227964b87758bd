"""The columns by which `top_activation` ranks images: elements of the embedding, their negatives, and pairs of elements."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsopt.errors import InputError


class Activations(NamedTuple):
    """Columns that rank the images, and their names."""

    values: Float[Tensor, "n c"]
    names: list[str]


def activations(embeddings: Float[Tensor, "n d"], both_tails: bool, standardise: bool, pairs: int) -> Activations:
    """The elements, then pairs of elements, then the negatives of the elements; see `top_activation` for the options.

    Raises:
        InputError: `pairs` is more than the number of pairs.
    """
    size = embeddings.shape[1]
    values, names = [standardised(embeddings) if standardise else embeddings], [f"element {e}" for e in range(size)]
    if pairs:
        first, second = _pairs(size, pairs)
        values.append(torch.minimum(values[0][:, first], values[0][:, second]))
        names += [f"elements {a} and {b}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    if both_tails:
        values.append(-values[0])
        names += [f"element {e}, lowest" for e in range(size)]
    return Activations(torch.cat(values, 1), names)


def standardised(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Every element with zero mean and unit standard deviation; constant elements become zero."""
    sd = embeddings.std(0, correction=0)
    return (embeddings - embeddings.mean(0)) / torch.where(sd > 0, sd, 1)


def penalised(values: Float[Tensor, "n c"], share: int) -> Float[Tensor, "n c"]:
    """Divide each activation by 1 + the number of other columns that have the image among their `share` largest.

    A negative activation is multiplied instead, since it must become smaller, too.
    """
    top = _greatest(values, share)
    choosers = 1 + top.sum(1, keepdim=True) - top.long()
    return torch.where(values > 0, values / choosers, values * choosers)


def _greatest(values: Float[Tensor, "n c"], share: int) -> Bool[Tensor, "n c"]:
    """Whether each value is among the `share` largest of its column; ties are broken by the lowest row."""
    order = values.argsort(dim=0, descending=True, stable=True)[:share]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(0, order, True)


def _pairs(size: int, count: int) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Pairs in which all elements occur equally often: (0, 1), (1, 2), ..., then (0, 2), (1, 3), ..."""
    most = size * (size - 1) // 2
    if not 0 <= count <= most:
        raise InputError(f"pairs={count}: expected 0 to {most}, the number of pairs of {size} elements.")
    first = torch.arange(count) % size
    return first, (first + 1 + torch.arange(count) // size) % size
