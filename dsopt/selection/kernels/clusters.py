"""k-means, for methods that use clusters of embeddings."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCK = 1 << 20  # products of rows and centroids held at a time: 4 MB
BATCHES = 16  # in which the first centroids are drawn
SAMPLE = 64  # rows per cluster, which suffice to find its centroid ...
MIN_SAMPLE = 1 << 16  # ... but at least this many rows in all


class Clusters(NamedTuple):
    """Centroids, the index of every row's nearest centroid, and the squared Euclidean distance to it."""

    centroids: Float[Tensor, "k d"]
    assignment: Int[Tensor, " n"]
    squared_distances: Float[Tensor, " n"]


def cluster(
    embeddings: Float[Tensor, "n d"],
    k: int,
    generator: torch.Generator,
    iterations: int = 25,
    weights: Float[Tensor, " n"] | None = None,
) -> Clusters:
    """k-means: Lloyd's iterations until they converge, at most `iterations`, from k-means++ (Arthur & Vassilvitskii 2007).

    The first centroids are drawn in `BATCHES` batches, each with probabilities proportional to the squared distances to those drawn
    before. So a few passes suffice for thousands of centroids (the idea of k-means||, Bahmani et al. 2012, arXiv:1203.6402); for
    at most `BATCHES` + 1 centroids it is exactly k-means++.

    An empty cluster takes over the row farthest from its centroid; clusters stay empty only if there are fewer than k distinct
    rows. For very many rows, centroids are computed from a random sample. Ties go to the lowest centroid.

    Args:
        weights: how often every row counts; by default each once.

    Raises:
        ValueError: k is not in 1 ... n.
    """
    if not 1 <= k <= len(embeddings):
        raise ValueError(f"cannot make {k} clusters of {len(embeddings)} rows")
    rows, most = embeddings, max(SAMPLE * k, MIN_SAMPLE)
    if len(rows) > most:
        some = torch.randperm(len(rows), generator=generator)[:most].sort().values
        rows, weights = rows[some], None if weights is None else weights[some]
    mean = rows.mean(0)
    rows = rows - mean  # distances are differences of squares: the shorter the rows, the smaller the rounding errors
    squares = rows.square().sum(1)
    centroids, assignment, closeness = _first_centroids(rows, squares, k, generator, weights)
    for _ in range(iterations):
        before = centroids
        centroids = means(rows, _without_empty(assignment, squares - 2 * closeness, k), before, weights)
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


def by_turns(
    assignment: Int[Tensor, " n"], value: Float[Tensor, " n"], taken: Int[Tensor, " k"] | None = None
) -> Int[Tensor, " n"]:
    """Order all rows: the best of every cluster, the largest cluster first, then the second best of every cluster, and so on.

    Ties are broken by the lowest row, or cluster.

    Args:
        taken: how many turns every cluster has had already.
    """
    sizes = assignment.bincount(minlength=0 if taken is None else len(taken))
    order = value.argsort(descending=True, stable=True)
    order = order[assignment[order].argsort(stable=True)]
    place = sizes.argsort(descending=True, stable=True).argsort()  # of each cluster, by size
    ranks = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[assignment[order]]
    ranks = ranks if taken is None else ranks + taken[assignment[order]]
    return order[(ranks * len(sizes) + place[assignment[order]]).argsort()]


def means(
    rows: Float[Tensor, "n d"],
    assignment: Int[Tensor, " n"],
    before: Float[Tensor, "k d"],
    weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, "k d"]:
    """The mean of each cluster; an empty cluster, or one of rows that do not count, keeps its centroid."""
    if weights is not None:
        total = torch.zeros_like(before[:, 0]).index_add_(0, assignment, weights)
        sums = torch.zeros_like(before).index_add_(0, assignment, rows * weights[:, None])
        return torch.where(total[:, None] > 0, sums / total[:, None].clamp(min=torch.finfo().tiny), before)
    sizes = assignment.bincount(minlength=len(before))
    found = embedding_bag(assignment.argsort(stable=True), rows, sizes.cumsum(0) - sizes, mode="mean")
    return torch.where(sizes[:, None] > 0, found, before)


def _first_centroids(
    rows: Float[Tensor, "n d"],
    squares: Float[Tensor, " n"],
    k: int,
    generator: torch.Generator,
    weights: Float[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "k d"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Rows drawn as centroids, and every row's nearest one, see `_closest`."""
    counted = torch.ones_like(squares) if weights is None else weights
    chosen = torch.randint(len(rows), (1,), generator=generator) if weights is None else weights.multinomial(1, generator=generator)
    chosen = chosen.to(rows.device)
    assignment, closeness = _closest(rows, rows[chosen])
    for batch in torch.arange(1, k, device=rows.device).tensor_split(min(BATCHES, k - 1)) if k > 1 else ():
        # Exponential race: the rows with the largest weight / Exp(1) are a weighted sample without replacement. Rows chosen before
        # get -1: they are drawn again only if every other row coincides with a chosen one.
        race = counted * (squares - 2 * closeness).clamp_min_(0) / -torch.rand(len(rows), generator=generator).to(rows.device).log()
        new = race.index_fill(0, chosen, -1).topk(len(batch)).indices
        which, closer = _closest(rows, rows[new])
        assignment = torch.where(closer > closeness, batch[which], assignment)
        closeness = torch.maximum(closer, closeness)
        chosen = torch.cat([chosen, new])
    return rows[chosen], assignment, closeness


def _closest(rows: Float[Tensor, "n d"], centroids: Float[Tensor, "k d"]) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroid, and its closeness, xc - |c|^2 / 2, which is largest: |x - c|^2 = |x|^2 - 2 (xc - |c|^2 / 2)."""
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
    """Update the nearest centroids after some have moved: a row whose centroid has not moved is compared only with those that have.

    This saves most of the work: with ten rows per cluster, most centroids stop moving after a few iterations.
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
    """Assign one of the rows farthest from their centroids to every empty cluster."""
    empty = (assignment.bincount(minlength=k) == 0).nonzero().squeeze(1)
    return assignment.scatter(0, squared.topk(len(empty)).indices, empty)
