"""Clusters of rows, each worked on as a whole: as many of them in one task as a process easily holds."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from dsopt.selection.streams.rows import Rows, Work

GATHERED_ROWS = 1 << 17  # rows of the clusters of one task


def per_cluster(rows: Rows, work: Work, assignment: Int[Tensor, " n"], *given: Tensor) -> Iterator[tuple[Int[Tensor, " m"], Any]]:
    """`work(rows [m d], slices [m ...])` of every cluster 0, 1, ... with its rows in order: their places, and the result.

    A row of cluster -1 is left out. Every task reads the parts that hold rows of its clusters.
    """
    taken = assignment >= 0
    sizes = assignment[taken].bincount()
    bins = (sizes.cumsum(0) - 1).div(GATHERED_ROWS, rounding_mode="floor")  # by the cluster's last row
    full = sizes > 0  # empty ones are in no task: the first ones might be in a task without rows
    bins[full] = torch.unique(bins[full], return_inverse=True)[1]
    group = torch.full_like(assignment, -1)
    group[taken] = bins[assignment[taken]]
    for places, results in rows.gathered(partial(_one_by_one, work=work), group, assignment, *given):
        for own, result in results:
            yield places[own], result


def _one_by_one(x: Tensor, assignment: Tensor, *given: Tensor, work: Work) -> list[tuple[Tensor, Any]]:
    order = assignment.argsort(stable=True)
    clusters = order.split(assignment.unique(return_counts=True)[1].tolist())
    return [(own.cpu(), work(x[own], *(some[own] for some in given))) for own in clusters]
