"""Greedy choice of rows whose values only fall, without looking at all of them after every choice."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.distances import ROWS

POOL = 512  # rows kept up to date: of 216 elements, they stay in the cache

Lower = Callable[[Tensor, Tensor, Tensor], Tensor]


def greedy(
    embeddings: Float[Tensor, "n d"], values: Float[Tensor, " n"], lower: Lower, budget: int
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Take the row of greatest value, lower the values of the others, and so on: the rows and their values when taken.

    Exactly the plain greedy answer, ties by the lowest row: as values only fall, the best of a pool of rows is the best of all as
    long as it is greater than all values outside were when last seen (the idea of Minoux 1978). So only the pool is kept up to
    date; the others are then lowered by many choices at once, which takes one matrix product instead of one pass each.

    Args:
        values: before the first choice; -inf for rows that are not to be chosen.
        lower: (values [m], embeddings [m d], those taken [t d]) -> values [m], none greater than before, whether rows are taken one
            by one or together.
    """
    chosen: list[int] = []
    worths: list[float] = []
    while len(chosen) < budget:
        best = values.argmax(keepdim=True)  # the first of equals, which need not be in the top k
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
