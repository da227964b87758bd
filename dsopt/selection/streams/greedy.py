"""Greedy selection from rows that no process holds: the choices are those of `dsopt.selection.streams.lazy.greedy`."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.distances import ROWS
from dsopt.selection.streams import lazy
from dsopt.selection.streams.rows import Blocks, HeldRows, Rows, take

POOL_VALUES = 1 << 23  # numbers of the rows that are held between two passes: 64 MB of float64


def greedy(
    rows: Rows, values: Float[Tensor, " n"], lower: lazy.Lower, budget: int
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The places of the rows taken, and their values then; see `lazy.greedy`, whose result it is exactly.

    One process holds the rows of largest value, some 20,000 of 384 numbers, and chooses among them for as long as none outside
    could be better. Then one pass over the parts updates the values of all rows, and another fetches the next rows to hold.
    """
    if isinstance(rows, HeldRows):
        return lazy.greedy(rows.formed(), values, lower, budget)
    chosen, worths, count = torch.empty(0, dtype=torch.int64), [], max(POOL_VALUES // rows.size, 1)
    while len(chosen) < budget:
        best = values.argmax(keepdim=True)
        pool = torch.cat([values.topk(min(count, len(values))).indices, best]).unique()
        outside = float(values.index_fill(0, pool, -torch.inf).max())
        held = take(rows, pool).to(rows.device)
        inside, their = lazy.greedy(held, values[pool], lower, budget - len(chosen), outside)
        worths.append(their)
        chosen = torch.cat([chosen, pool[inside]])
        lowered = torch.empty_like(values)
        for places, found in rows.each(partial(_lowered, lower=lower, taken=held[inside.to(held.device)].cpu()), values):
            lowered[places] = found
        values = lowered.index_fill(0, chosen, -torch.inf)
    return chosen, torch.cat([values[:0], *worths])


def _lowered(blocks: Blocks, lower: lazy.Lower, taken: Tensor) -> Tensor:
    pieces = (pair for x, values in blocks for pair in zip(values.split(ROWS), x.split(ROWS), strict=True))
    return torch.cat([lower(values, x, taken.to(x.device)) for values, x in pieces])
