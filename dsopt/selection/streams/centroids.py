"""k-means of rows that no process holds: first centroids (`starts`), then full passes whose sums are exact."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.clusters import Clusters, cluster
from dsopt.selection.kernels.distances import nearest_centroids, unit
from dsopt.selection.streams import exact
from dsopt.selection.streams.rows import Blocks, HeldRows, Rows, take
from dsopt.selection.streams.starts import Start, of_sample

SETTLED = 1e-3  # the relative gain in inertia below which a further pass is not worth its time


def clustered(
    rows: Rows,
    k: int,
    generator: torch.Generator,
    iterations: int = 25,
    *,
    start: Callable[..., Tensor] = of_sample,
    spherical: bool = False,
) -> Clusters:
    """k-means of rows, wherever they are; what is found for them is in this process's ordinary memory."""
    if isinstance(rows, HeldRows) and start is of_sample and not spherical:
        return Clusters(*(found.cpu() for found in cluster(rows.formed(), k, generator, iterations)))
    return kmeans(rows, k, generator, start=partial(start, iterations=iterations), spherical=spherical)


def kmeans(
    rows: Rows, k: int, generator: torch.Generator, *, start: Start = of_sample, passes: int = 10, spherical: bool = False
) -> Clusters:
    """k-means over parts: first centroids, then up to `passes` full passes over all rows.

    A pass assigns every row to its nearest centroid and adds up the rows of every cluster, exactly, so that the result depends
    neither on how rows lie in parts nor on the workers. It ends when a pass gains less than a thousandth. An empty cluster takes
    over one of the rows farthest from their centroids. One process holds what the start needs, one block, and for every row its
    cluster and distance; 2 + `passes` + 1 passes are read, and those of the start.

    Args:
        start: see `dsopt.selection.streams.starts`.
        spherical: rows and centroids have length 1 (Dhillon & Modha 2001); the squared distance is twice the cosine distance.

    Raises:
        ValueError: k is not in 1 ... n.
    """
    if not 1 <= k <= len(rows):
        raise ValueError(f"cannot make {k} clusters of {len(rows)} rows")
    rows = rows.seen_as(unit) if spherical else rows
    centroids = start(rows, k, generator)
    most = exact.largest(rows)
    center = torch.zeros(rows.size) if spherical else exact.mean(rows, most).float()
    centroids = unit(centroids) if spherical else centroids - center
    distance, best = exact.step(2 * most, len(rows)), torch.inf
    for _ in range(passes):
        found = _pass(rows, centroids, center, distance)
        inertia = float(found.squared.double().sum())
        if inertia > (1 - SETTLED) * best:
            break
        best = inertia
        moved = _moved(rows, found, centroids, center, distance)
        centroids = unit(moved) if spherical else moved
    else:
        found = _pass(rows, centroids, center, distance)
    return Clusters(centroids + center, found.assignment, found.squared)


def assigned(rows: Rows, centroids: Float[Tensor, "k d"]) -> Clusters:
    """The clusters of given centroids, in three passes."""
    most = exact.largest(rows)
    center = exact.mean(rows, most).float()
    found = _pass(rows, centroids - center, center, exact.step(2 * most, len(rows)))
    return Clusters(centroids, found.assignment, found.squared)


class _Pass(NamedTuple):
    """What a pass finds: of every row its cluster and distance; of every cluster the sum of its rows, in steps, and its size."""

    assignment: Int[Tensor, " n"]
    squared: Float[Tensor, " n"]
    sums: Float[Tensor, "k d"]
    counts: Int[Tensor, " k"]


def _pass(rows: Rows, centroids: Tensor, center: Tensor, distance: float) -> _Pass:
    found = _Pass(
        torch.empty(len(rows), dtype=torch.int64),
        torch.empty(len(rows)),
        torch.zeros(centroids.shape, dtype=torch.float64),
        torch.zeros(len(centroids), dtype=torch.int64),
    )
    for places, tile in rows.each(partial(_assigned, centroids=centroids, center=center, distance=distance)):
        found.assignment[places], found.squared[places] = tile.assignment, tile.squared
        found.sums.add_(tile.sums)
        found.counts.add_(tile.counts)
    return found


def _assigned(blocks: Blocks, centroids: Tensor, center: Tensor, distance: float) -> _Pass:
    assignments, squares = [], []
    sums, counts = torch.empty(0), torch.empty(0)
    for (x,) in blocks:
        if not len(sums):
            centroids, center = centroids.to(x.device), center.to(x.device)
            sums = torch.zeros_like(centroids, dtype=torch.float64)
            counts = torch.zeros_like(centroids[:, 0], dtype=torch.int64)
        x = x - center
        which = nearest_centroids(x, centroids)
        sums.index_add_(0, which, exact.on_grid(x, distance))
        counts.index_add_(0, which, torch.ones_like(which))
        assignments.append(which)
        squares.append((x - centroids[which]).square_().sum(1, dtype=torch.float64).float())
    return _Pass(torch.cat(assignments), torch.cat(squares), sums, counts)


def _moved(rows: Rows, found: _Pass, before: Tensor, center: Tensor, distance: float) -> Float[Tensor, "k d"]:
    """The mean of each cluster; an empty one takes over one of the rows farthest from their centroids."""
    means = (found.sums * distance / found.counts.clamp(min=1)[:, None]).float()
    empty = (found.counts == 0).nonzero().squeeze(1)
    if len(empty):
        farthest = found.squared.argsort(descending=True, stable=True)[: len(empty)]
        means[empty] = take(rows, farthest) - center
    return means
