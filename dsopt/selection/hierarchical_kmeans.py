"""Clusters of clusters, from which equally many images are taken at every level: frequent concepts no longer drown rare ones."""

import math
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.errors import InputError
from dsopt.selection.balance import allocate
from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.clusters import Clusters
from dsopt.selection.kernels.distances import nearest_centroids
from dsopt.selection.streams.centroids import assigned, clustered
from dsopt.selection.streams.costs import Cost, Size, lloyd
from dsopt.selection.streams.rows import HeldRows, Rows, take
from dsopt.selection.streams.starts import SAMPLE_VALUES, continued, of_sample

SHRINK = 10  # times fewer clusters at every further level

Pick = Literal["random", "closest"]


class _Options(NamedTuple):
    clusters: list[int] | None
    resamplings: int
    pick: Pick


def _passes(clusters: list[int] | None, resamplings: int, pick: Pick) -> Passes:
    return partial(_choose, options=_Options(clusters, resamplings, pick))


def _cost(at: Size, clusters: list[int] | None, resamplings: int, pick: str) -> Cost:
    k = _levels(at.rows, clusters)[0]
    nearest = min(at.rows / 2, max(64 * k, 1 << 16))
    products = resamplings * (at.rows + 14 * nearest) * k * at.size
    again = Cost(products, passes=0 if at.held else 4 * resamplings, memory=16 * at.rows)
    return lloyd(at, k).plus(again)


@selector(seeded=True, gpu=True, continues=True, clusters=True, passes=_passes, cost=_cost)
def hierarchical_kmeans(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    kept: Float[Tensor, "m d"] | None = None,
    centroids: Float[Tensor, "c d"] | None = None,
    *,
    clusters: list[int] | None = None,
    resamplings: int = 10,
    pick: Literal["random", "closest"] = "random",
) -> Selection:
    """Divide the budget equally among clusters of clusters, down to the images (Vo et al. 2024, arXiv:2405.15613, Section 3).

    k-means gives the clusters of the first level; the centroids of each level are the points of the next. Clusters of one k-means
    are dense where the data are; so at every level k-means is repeated on the points nearest to each centroid, `resamplings` times,
    after which centroids are spread evenly over the data. The budget is divided equally among the top clusters, each share equally
    among the clusters below, and what a small one cannot take goes to its neighbours. Of a cluster of the first level, images are
    taken at random, or those closest to the centroid. The score is the negative squared distance to it.

    In passes over parts, k-means is that of `streams.centroids.kmeans`; the rest is the same.

    Images that are `kept` count in the shares of their clusters: a cluster that has its share already gives no further ones. The
    clusters of the first level start from the `centroids` of the earlier choice, and further ones where images are far from these.

    Deviations: `clusters`, the number at every level, is by default 4 sqrt(n), then a tenth each; a resampling takes from every
    cluster half as many points as it has on average, and no more than memory should hold.

    Raises:
        InputError: `clusters` does not fall from level to level, or exceeds the number of images.
    """
    return _choose(HeldRows(embeddings), budget, generator, kept, centroids, options=_Options(clusters, resamplings, pick))


def _choose(
    rows: Rows,
    budget: int,
    generator: torch.Generator,
    kept: Tensor | None = None,
    centroids: Tensor | None = None,
    *,
    options: _Options,
) -> Selection:
    counts = _levels(len(rows), options.clusters)
    images = _evenly(rows, counts[0], generator, options.resamplings, centroids)
    points, parents = images.centroids, []
    for count in counts[1:]:
        above = _evenly(HeldRows(points), count, generator, options.resamplings)
        parents.append(above.assignment)
        points = above.centroids
    assignment, closeness = images.assignment, -images.squared_distances
    sizes = assignment.bincount(minlength=counts[0])
    if kept is not None and len(kept):
        taken = nearest_centroids(kept.cpu(), images.centroids).bincount(minlength=counts[0])
        shares = _further(sizes + taken, parents, budget, taken)
    else:
        shares = torch.tensor(_shares(sizes, parents, budget))
    preference = closeness if options.pick == "closest" else torch.rand(len(rows), generator=generator)
    order = preference.argsort(descending=True, stable=True)
    order = order[assignment[order].argsort(stable=True)]
    ranks = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[assignment[order]]
    taken = ranks < shares[assignment[order]]
    chosen = order[taken][ranks[taken].argsort(stable=True)]  # the first of every cluster, then the second
    return Selection(chosen, closeness[chosen], [f"cluster {c}" for c in assignment[chosen].tolist()], images.centroids)


def _levels(rows: int, clusters: list[int] | None) -> list[int]:
    if clusters is None:
        first = min(round(4 * math.sqrt(rows)), rows)
        return [first, *(count for count in (first // SHRINK, first // SHRINK**2) if count > 1)]
    if not clusters or clusters != sorted(clusters, reverse=True) or not 1 <= clusters[-1] <= clusters[0] <= rows:
        raise InputError(f"clusters={clusters}: expected numbers from at most {rows}, the images, down to at least 1.")
    return clusters


def _evenly(rows: Rows, k: int, generator: torch.Generator, resamplings: int, first: Tensor | None = None) -> Clusters:
    """k-means, repeated on the points nearest to each centroid; each time from earlier centroids, where there are `first` ones."""
    found = clustered(rows, k, generator) if first is None else assigned(rows, continued(rows, k, generator, first=first))
    most = min(len(rows) // (2 * k), SAMPLE_VALUES // rows.size // k)
    for _ in range(resamplings if most >= 2 else 0):
        order = found.squared_distances.argsort(stable=True)
        order = order[found.assignment[order].argsort(stable=True)]
        sizes = found.assignment.bincount(minlength=k)
        ranks = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[found.assignment[order]]
        nearest = order[ranks < most].sort().values
        if len(nearest) < k:
            break
        start = of_sample if first is None else partial(continued, first=found.centroids)
        found = assigned(rows, clustered(HeldRows(take(rows, nearest).to(rows.device)), k, generator, start=start).centroids)
    return found


def _further(sizes: Int[Tensor, " k"], parents: list[Tensor], budget: int, taken: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    """The shares of a budget that is large enough that, without what clusters have `taken`, `budget` is left."""
    low, high = budget, int(sizes.sum())
    while low < high:
        middle = (low + high) // 2
        left = (torch.tensor(_shares(sizes, parents, middle)) - taken).clamp(min=0)
        low, high = (low, middle) if int(left.sum()) >= budget else (middle + 1, high)
    left = (torch.tensor(_shares(sizes, parents, high)) - taken).clamp(min=0)
    for _ in range(int(left.sum()) - budget):
        left[left.argmax()] -= 1
    return left


def _shares(sizes: Int[Tensor, " k"], parents: list[Tensor], budget: int) -> list[int]:
    """What is taken from every cluster of the first level, of these sizes.

    Args:
        parents: of the clusters of every level but the last, their clusters at the next.
    """
    if not parents:
        return allocate(sizes.tolist(), budget)
    parent, shares = parents[0], torch.zeros_like(sizes)
    above = torch.zeros(int(parent.max()) + 1, dtype=sizes.dtype).index_add_(0, parent, sizes)
    for number, share in enumerate(_shares(above, parents[1:], budget)):
        children = (parent == number).nonzero().squeeze(1)
        shares[children] = torch.tensor(allocate(sizes[children].tolist(), share), dtype=shares.dtype)
    return shares.tolist()
