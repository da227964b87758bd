"""The nearest neighbours of rows that no process holds."""

from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.distances import squared_distances
from dsopt.selection.kernels.neighbours import nearest
from dsopt.selection.streams.centroids import kmeans
from dsopt.selection.streams.groups import GATHERED_ROWS
from dsopt.selection.streams.rows import Blocks, HeldRows, Rows

OVERLAP = 4  # regions that a row is searched for in
SMALL = 8  # a region with so many times fewer rows than on average is none

Neighbours = tuple[Int[Tensor, " m"], Float[Tensor, "m k"], Int[Tensor, "m k"]]


def neighbours(rows: Rows, k: int) -> Iterator[Neighbours]:
    """The k nearest others of all rows, some at a time: their places, the squared distances, nearest first, and the others' places.

    Rows lie in regions, by k-means. Those of a region are compared with all rows that have it among their `OVERLAP` nearest ones:
    `GATHERED_ROWS` on average, which one process holds; see `kernels.neighbours.nearest`. So few rows in all are one region, as are
    rows in memory.

    Raises:
        ValueError: k is negative, or there are not k other rows.
    """
    if isinstance(rows, HeldRows):
        squared, others = nearest(rows.formed(), k)
        yield torch.arange(len(rows)), squared.cpu(), others.cpu()
        return
    centers = _regions(rows, k)
    near = torch.empty(len(rows), min(OVERLAP, len(centers)), dtype=torch.int64)
    for places, found in rows.each(partial(_nearest_regions, centers=centers, count=near.shape[1])):
        near[places] = found
    own = torch.arange(near.shape[1]).expand_as(near) == 0
    for places, (inside, squared, others) in rows.gathered(partial(_within, k=k), near, own):
        yield places[inside], squared, places[others]


def _regions(rows: Rows, k: int) -> Float[Tensor, "g d"]:
    count = min(-(-OVERLAP * len(rows) // GATHERED_ROWS), len(rows)) if len(rows) > GATHERED_ROWS else 1
    found = kmeans(rows, count, torch.Generator().manual_seed(0), passes=0)
    sizes = found.assignment.bincount(minlength=count)
    return found.centroids[sizes >= min(max(len(rows) / count / SMALL, k + 1), int(sizes.max()))]


def _nearest_regions(blocks: Blocks, centers: Tensor, count: int) -> Tensor:
    return torch.cat([squared_distances(x, centers.to(x.device)).argsort(stable=True)[:, :count] for (x,) in blocks])


def _within(x: Tensor, own: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of a region's own rows, all neighbours among its rows."""
    inside = own.nonzero().squeeze(1)
    return inside, *nearest(x, k, inside)
