"""Greedy selection of rows whose values only fall, without updating all of them after every choice."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.distances import ROWS

POOL = 512  # rows kept up to date: with 216 elements they fit into the CPU cache

Lower = Callable[[Tensor, Tensor, Tensor], Tensor]


def greedy(
    embeddings: Float[Tensor, "n d"], values: Float[Tensor, " n"], lower: Lower, budget: int
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Repeatedly take the row of largest value, then lower the values of the others; return the rows and their values when taken.

    The result is exactly that of the plain greedy algorithm, ties broken by the lowest row. Since values only fall, the best row of
    a pool is the best of all as long as its value exceeds all last known values outside the pool (the idea of Minoux 1978). So only
    the pool is updated after each choice; the others are updated for many choices at once, by one matrix product.

    Args:
        values: values before the first choice; -inf for rows that must not be chosen.
        lower: (values [m], embeddings [m d], rows taken [t d]) -> values [m], none larger than before. The result must not depend
            on whether rows are taken one by one or together.
    """
    chosen: list[int] = []
    worths: list[float] = []
    while len(chosen) < budget:
        best = values.argmax(keepdim=True)  # the first of equal values, which topk need not return
        pool = torch.cat([values.topk(min(POOL, len(values))).indices, best]).unique()
        outside = values.index_fill(0, pool, -torch.inf).max()
        some, inside, before = embeddings[pool].double(), values[pool], len(chosen)
        while len(chosen) < budget and (len(chosen) == before or inside.max() > outside):
            place = int(inside.argmax())
            chosen.append(int(pool[place]))
            worths.append(float(inside[place]))
            inside = lower(inside, some, some[place, None])
            inside[place] = -torch.inf
        taken = embeddings[chosen[before:]]
        blocks = zip(values.split(ROWS), embeddings.split(ROWS), strict=True)
        values = torch.cat([lower(some_values, block, taken) for some_values, block in blocks])
        values[chosen[before:]] = -torch.inf
    return torch.tensor(chosen, dtype=torch.int64), torch.tensor(worths, dtype=values.dtype)
