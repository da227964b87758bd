"""k-means, for the methods that look at groups of embeddings."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCK = 1 << 20  # products of rows and centroids looked at together: 4 MB
BATCHES = 16  # in which the first centroids are drawn
SAMPLE = 64  # rows a cluster that suffice to find its centroid ...
MIN_SAMPLE = 1 << 16  # ... but so many are always used


class Clusters(NamedTuple):
    """Centroids, the nearest of them for every row, and the squared Euclidean distance to it."""

    centroids: Float[Tensor, "k d"]
    assignment: Int[Tensor, " n"]
    squared_distances: Float[Tensor, " n"]


def cluster(embeddings: Float[Tensor, "n d"], k: int, generator: torch.Generator, iterations: int = 25) -> Clusters:
    """k-means: Lloyd's iterations, fewer if they settle, from k-means++ (Arthur & Vassilvitskii 2007).

    The first centroids are drawn in `BATCHES` batches, each in proportion to the squared distances to those before, so that a few
    passes do for thousands of them (the idea of k-means||, Bahmani et al. 2012, arXiv:1203.6402); for few centroids that is
    k-means++ to the letter. An empty cluster takes over the row farthest from its centroid. Of very many rows, a random sample
    finds the centroids. Clusters stay empty only where there are fewer distinct rows. Equally near: the lowest centroid.

    Raises:
        ValueError: k is not in 1 ... n.
    """
    if not 1 <= k <= len(embeddings):
        raise ValueError(f"cannot make {k} clusters of {len(embeddings)} rows")
    rows, most = embeddings, max(SAMPLE * k, MIN_SAMPLE)
    if len(rows) > most:
        rows = rows[torch.randperm(len(rows), generator=generator)[:most].sort().values]
    mean = rows.mean(0)
    rows = rows - mean  # distances are differences of squares: the smaller these, the better
    squares = rows.square().sum(1)
    centroids, assignment, closeness = _first_centroids(rows, squares, k, generator)
    for _ in range(iterations):
        before = centroids
        centroids = means(rows, _without_empty(assignment, squares - 2 * closeness, k), before)
        moved = (centroids != before).any(1)
        if not moved.any():
            break
        assignment, closeness = _reassign(rows, centroids, moved, assignment, closeness)
    if len(rows) < len(embeddings):
        assignment = torch.cat([_closest(some - mean, centroids)[0] for some in embeddings.split(MIN_SAMPLE)])
    centroids = centroids + mean
    distances = [
        (some - centroids[theirs]).square().sum(1)
        for some, theirs in zip(embeddings.split(MIN_SAMPLE), assignment.split(MIN_SAMPLE), strict=True)
    ]
    return Clusters(centroids, assignment, torch.cat(distances))


def by_turns(assignment: Int[Tensor, " n"], worth: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """All rows: the worthiest of every cluster, the largest cluster first, then the second of every cluster, and so on.

    Ties go by the lowest row, or cluster.
    """
    sizes = assignment.bincount()
    order = worth.argsort(descending=True, stable=True)
    order = order[assignment[order].argsort(stable=True)]
    place = sizes.argsort(descending=True, stable=True).argsort()  # of each cluster, by size
    ranks = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[assignment[order]]
    return order[(ranks * len(sizes) + place[assignment[order]]).argsort()]


def means(rows: Float[Tensor, "n d"], assignment: Int[Tensor, " n"], before: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """The mean of each cluster; an empty one stays where it was."""
    sizes = assignment.bincount(minlength=len(before))
    found = embedding_bag(assignment.argsort(stable=True), rows, sizes.cumsum(0) - sizes, mode="mean")
    return torch.where(sizes[:, None] > 0, found, before)


def _first_centroids(
    rows: Float[Tensor, "n d"], squares: Float[Tensor, " n"], k: int, generator: torch.Generator
) -> tuple[Float[Tensor, "k d"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Rows drawn for centroids, and the nearest of these for every row, see `_closest`."""
    chosen = torch.randint(len(rows), (1,), generator=generator)
    assignment, closeness = _closest(rows, rows[chosen])
    for batch in torch.arange(1, k).tensor_split(min(BATCHES, k - 1)) if k > 1 else ():
        # An exponential race draws without replacement; only where all others lie upon chosen ones do these win.
        race = (squares - 2 * closeness).clamp_min_(0) / -torch.rand(len(rows), generator=generator).log()
        new = race.index_fill(0, chosen, -1).topk(len(batch)).indices
        which, closer = _closest(rows, rows[new])
        assignment = torch.where(closer > closeness, batch[which], assignment)
        closeness = torch.maximum(closer, closeness)
        chosen = torch.cat([chosen, new])
    return rows[chosen], assignment, closeness


def _closest(rows: Float[Tensor, "n d"], centroids: Float[Tensor, "k d"]) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroid, which has the greatest xc - |c|^2 / 2, and this closeness: |x - c|^2 = |x|^2 - 2 (xc - |c|^2 / 2)."""
    half = centroids.square().sum(1) / 2
    found = [torch.addmm(half, some, centroids.T, beta=-1).max(1) for some in rows.split(max(BLOCK // len(centroids), 1))]
    return torch.cat([which for _, which in found]), torch.cat([closeness for closeness, _ in found])


def _reassign(
    rows: Float[Tensor, "n d"],
    centroids: Float[Tensor, "k d"],
    moved: Bool[Tensor, " k"],
    assignment: Int[Tensor, " n"],
    closeness: Float[Tensor, " n"],
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroids, now that some have moved: rows of those that have not need only be compared with those that have.

    With ten rows a cluster, most centroids rest after a few iterations.
    """
    if moved.all():
        return _closest(rows, centroids)
    left, stay = moved[assignment].nonzero().squeeze(1), (~moved)[assignment].nonzero().squeeze(1)
    assignment, closeness = assignment.clone(), closeness.clone()
    assignment[left], closeness[left] = _closest(rows[left], centroids)
    which, closer = _closest(rows[stay], centroids[moved])
    nearer = closer > closeness[stay]
    assignment[stay[nearer]] = moved.nonzero().squeeze(1)[which[nearer]]
    closeness[stay[nearer]] = closer[nearer]
    return assignment, closeness


def _without_empty(assignment: Int[Tensor, " n"], squared: Float[Tensor, " n"], k: int) -> Int[Tensor, " n"]:
    """Every empty cluster takes over one of the rows farthest from their centroids."""
    empty = (assignment.bincount(minlength=k) == 0).nonzero().squeeze(1)
    return assignment.scatter(0, squared.topk(len(empty)).indices, empty)
