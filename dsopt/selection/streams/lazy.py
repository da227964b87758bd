"""Greedy selection of rows whose values only fall, without updating all of them after every choice."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.distances import ROWS

POOL = 512  # rows kept up to date: with 216 elements they fit into the CPU cache
AHEAD = 256  # choices that a GPU makes before the host looks at them

Lower = Callable[[Tensor, Tensor, Tensor], Tensor]


def greedy(
    embeddings: Float[Tensor, "n d"], values: Float[Tensor, " n"], lower: Lower, budget: int, above: float = -torch.inf
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Repeatedly take the row of largest value, then lower the values of the others; return the rows and their values when taken.

    The result is exactly that of the plain greedy algorithm, ties broken by the lowest row. Since values only fall, the best row of
    a pool is the best of all as long as its value exceeds all last known values outside the pool (the idea of Minoux 1978). So only
    the pool is updated after each choice; the others are updated for many choices at once, by one matrix product. A GPU updates
    all rows after every choice, and the host does not wait for it.

    Args:
        values: values before the first choice; -inf for rows that must not be chosen.
        lower: (values [m], embeddings [m d], rows taken [t d]) -> values [m], none larger than before. The result must not depend
            on whether rows are taken one by one or together.
        above: end when no value exceeds this one; the first row is taken in any case.
    """
    if embeddings.is_cuda:
        return _on_device(embeddings, values, lower, budget, above)
    chosen: list[int] = []
    worths: list[float] = []
    while len(chosen) < budget and (not chosen or float(values.max()) > above):
        best = values.argmax(keepdim=True)  # the first of equal values, which topk need not return
        pool = torch.cat([values.topk(min(POOL, len(values))).indices, best]).unique()
        outside = max(values.index_fill(0, pool, -torch.inf).max().item(), above)
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


def _on_device(
    embeddings: Float[Tensor, "n d"], values: Float[Tensor, " n"], lower: Lower, budget: int, above: float
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The plain algorithm. Choices beyond the first that is not `above` are made in vain, at most `AHEAD`."""
    rows, worths, found = [], [], 0
    values = values.to(embeddings.device, non_blocking=True)
    ahead = budget if above == -torch.inf else min(AHEAD, budget)
    while found < budget:
        for _ in range(min(ahead, budget - found)):
            worth, row = values.max(0, keepdim=True)
            rows.append(row)
            worths.append(worth)
            values = lower(values, embeddings, embeddings.index_select(0, row)).index_fill(0, row, -torch.inf)
        found = len(rows)
        if above > -torch.inf:
            last = torch.cat(worths).cpu() > above
            last[0] = True
            if not last.all():
                found = int((~last).nonzero()[0])
                break
    return torch.cat(rows[:found] or [values.new_empty(0).long()]).cpu(), torch.cat(worths[:found] or [values[:0]]).cpu()
