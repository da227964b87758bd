"""Sums that are the same in any order: of numbers on a grid so coarse that float64 holds every sum of them."""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.selection.streams.rows import Blocks, Rows, per_row

BITS = 52  # of float64


def step(most: float, rows: int) -> float:
    """The grid's distance, a power of two, for sums of `rows` numbers of absolute value up to `most`.

    It is 2^-26 of `most` for a hundred million rows and finer for fewer: finer than float32 next to `most`.
    """
    return 2.0 ** (math.frexp(most or 1.0)[1] + math.ceil(math.log2(max(rows, 2))) - BITS)


def on_grid(x: Tensor, distance: float) -> Float[Tensor, "*shape"]:
    """The numbers in whole steps, whose sums are exact; to be multiplied by the distance in the end."""
    return x.double().mul_(1 / distance).round_()


def largest(rows: Rows) -> float:
    """The largest absolute value of all elements, in one pass."""
    return max(float(found) for _, found in rows.each(_largest))


def mean(rows: Rows, most: float | None = None) -> Float[Tensor, " d"]:
    """The mean of all rows in float64, in two passes, or in one where the largest absolute value is known."""
    distance = step(largest(rows) if most is None else most, len(rows))
    total = torch.zeros(rows.size, dtype=torch.float64)
    for _, found in rows.each(partial(_sum, distance=distance)):
        total += found
    return total * (distance / len(rows))


def from_mean(rows: Rows) -> Float[Tensor, " n"]:
    """The squared distance of every row from the mean of all, in float64, in three passes."""
    return per_row(rows, partial(_squared_from, center=mean(rows)))


def _largest(blocks: Blocks) -> Tensor:
    return torch.stack([x.abs().max() for (x,) in blocks]).max()


def _sum(blocks: Blocks, distance: float) -> Tensor:
    return torch.stack([on_grid(x, distance).sum(0) for (x,) in blocks]).sum(0)


def _squared_from(x: Tensor, center: Tensor) -> Tensor:
    return (x.double() - center.to(x.device)).square_().sum(1)
