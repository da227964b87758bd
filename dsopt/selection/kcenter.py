"""Greedy k-center: no image is far from a chosen one."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.distances import squared_distances, unit
from dsopt.selection.streams import exact
from dsopt.selection.streams.costs import Cost, Size, one_by_one
from dsopt.selection.streams.greedy import greedy
from dsopt.selection.streams.rows import HeldRows, Rows, per_row, take

RESOLUTION = 1e-12  # of squared distances, relative to the rows' squares: smaller ones are rounding errors of float64

TAKEN_ROWS = 4096  # centers that rows are compared with at a time

Metric = Literal["l2", "cosine"]


def _passes(metric: Metric) -> Passes:
    return partial(_choose, metric=metric)


def _cost(at: Size, metric: str) -> Cost:
    return one_by_one(at)


@selector(gpu=True, continues=True, passes=_passes, cost=_cost)
def kcenter(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    kept: Float[Tensor, "m d"] | None = None,
    *,
    metric: Literal["l2", "cosine"] = "l2",
) -> Selection:
    """Take the image farthest from those taken (greedy k-center, Sener & Savarese 2018, arXiv:1708.00489, algorithm 1).

    The paper starts with images that are labelled already, as `kept` are here; without such, the first is the image nearest to the
    mean. The score is the distance to the nearest image taken before: after k images, no image is farther from them than the next
    score. In passes over parts the answer is the same.
    """
    return _choose(HeldRows(embeddings), budget, generator, kept, metric=metric)


def _choose(rows: Rows, budget: int, generator: torch.Generator, kept: Tensor | None = None, *, metric: Metric) -> Selection:
    rows = rows if metric == "l2" else rows.seen_as(unit)
    if kept is not None and len(kept):
        near = per_row(rows, partial(_near, taken=kept if metric == "l2" else unit(kept)))
        chosen, squared = greedy(rows, near, _nearer, budget)
        return Selection(chosen, _radii(squared, metric), ["farthest from those before"] * budget)
    first = exact.from_mean(rows).argmin(keepdim=True)
    values = per_row(rows, partial(_near, taken=take(rows, first))).index_fill(0, first, -torch.inf)
    others, squared = greedy(rows, values, _nearer, budget - 1)
    scores = torch.cat([torch.tensor([torch.nan]), _radii(squared, metric)])
    return Selection(torch.cat([first, others]), scores, ["nearest to the mean"] + ["farthest from those before"] * (budget - 1))


def _radii(squared: Float[Tensor, " k"], metric: Metric) -> Float[Tensor, " k"]:
    return squared.sqrt() if metric == "l2" else squared / 2


def _near(some: Float[Tensor, "m d"], taken: Float[Tensor, "t d"]) -> Float[Tensor, " m"]:
    """The squared distances to the nearest of any number of centers."""
    near = some.new_full((len(some),), torch.inf)
    for few in taken.to(some.device).split(TAKEN_ROWS):
        near = _nearer(near, some, few)
    return near


def _nearer(near: Float[Tensor, " m"], some: Float[Tensor, "m d"], taken: Float[Tensor, "t d"]) -> Float[Tensor, " m"]:
    """Update the squared distances to the nearest center with further centers."""
    squared = squared_distances(some, taken).amin(1)
    return torch.minimum(near, squared.masked_fill(squared < RESOLUTION * some.square().sum(1), 0))
