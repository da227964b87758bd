"""Graph cut: images similar to all images, but not to each other; a submodular objective."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.distances import similarity, squared_distances, unit
from dsopt.selection.streams import exact
from dsopt.selection.streams.costs import Cost, Size, one_by_one
from dsopt.selection.streams.greedy import greedy
from dsopt.selection.streams.rows import HeldRows, Rows, per_row

TAKEN_ROWS = 4096  # rows taken that others are compared with at a time


def _passes(trade_off: float) -> Passes:
    return partial(_choose, trade_off=trade_off)


def _cost(at: Size, trade_off: float) -> Cost:
    return one_by_one(at)


@selector(gpu=True, continues=True, passes=_passes, cost=_cost)
def graph_cut(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    kept: Float[Tensor, "m d"] | None = None,
    *,
    trade_off: float = 1.0,
) -> Selection:
    """Take the image of largest gain: similar to all, different from those taken (graph cut, Iyer et al. 2021, arXiv:2006.15412).

    The gain, and the score, is lambda * sum of s(i, j) over all j - 2 * sum of s(i, j) over those taken, with lambda = `trade_off`
    and s = (1 + cosine) / 2. DeepCore (arXiv:2204.08499) has lambda = 1; with 2 or more, the objective is monotone. Use it with
    `per_class`, as DeepCore does. In passes over parts the answer is the same. Images that are `kept` count among those taken, and
    "all" are the others.
    """
    return _choose(HeldRows(embeddings), budget, generator, kept, trade_off=trade_off)


def _choose(rows: Rows, budget: int, generator: torch.Generator, kept: Tensor | None = None, *, trade_off: float) -> Selection:
    rows = rows.seen_as(unit)
    squares = exact.from_mean(rows)
    # A row's mean squared distance to all rows is its squared distance to their mean plus the mean of all squared distances to it.
    gains = trade_off * len(rows) * similarity(squares + squares.mean())
    gains = (gains * 2**30).round() / 2**30  # removes rounding errors, so that equal rows have equal gains
    if kept is not None and len(kept):
        gains = per_row(rows, partial(_less_like_kept, taken=unit(kept)), gains)
    chosen, scores = greedy(rows, gains, _less_like, budget)
    return Selection(chosen, scores.float(), ["like all, unlike those before"] * budget)


def _less_like(gains: Float[Tensor, " m"], some: Float[Tensor, "m d"], taken: Float[Tensor, "t d"]) -> Float[Tensor, " m"]:
    # Sums of float32 numbers in float64 are exact, so they do not depend on how many rows are added at a time.
    return gains - 2 * similarity(squared_distances(some, taken)).sum(1, dtype=torch.float64)


def _less_like_kept(some: Float[Tensor, "m d"], gains: Float[Tensor, " m"], taken: Float[Tensor, "t d"]) -> Float[Tensor, " m"]:
    for few in taken.to(some.device).split(TAKEN_ROWS):
        gains = _less_like(gains, some, few)
    return gains
