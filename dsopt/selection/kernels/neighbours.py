"""The nearest other rows of every row."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.kernels.distances import squared_distances

EXACT_ROWS = 50_000  # up to this number the search is exact: some 40 seconds of a core (x 384), reckoned from 15,000
LISTS = 4  # times the square root of the number of rows: clusters ...
PROBES = 64  # ... of which every row is in so many
ITERATIONS = 5  # of k-means for these clusters
BLOCK = 1 << 24  # distances held at a time: 64 MB
FOLD = 16  # distances, of which first only the lowest is looked at
PAIRS = 1 << 16  # pairs of rows compared at a time

Found = tuple[Float[Tensor, "m k"], Int[Tensor, "m k"]]


def nearest(embeddings: Float[Tensor, "n d"], k: int, of: Int[Tensor, " m"] | None = None) -> Found:
    """The squared Euclidean distances to the k nearest other rows and their indices, nearest first, ties broken by the lowest row.

    Exact up to `EXACT_ROWS` rows, and on a GPU. Beyond that, there are 4 sqrt(n) clusters, and the rows of each are compared with
    all rows that have it among their 64 nearest ones. This finds about as many as searching the 64 clusters nearest to each
    row (Jégou et al. 2011, "Product quantization for nearest neighbor search", section IV, without quantization), and consists of
    matrix products. Unlike a graph index (HNSW) built by several threads, it is deterministic.

    Args:
        of: the rows whose neighbours are wanted; by default all.

    Raises:
        ValueError: k is negative, or there are not k other rows.
    """
    rows = torch.arange(len(embeddings), device=embeddings.device) if of is None else of
    if not 0 <= k < len(embeddings):
        raise ValueError(f"{len(embeddings)} rows do not have {k} others each")
    if not k or not len(rows):
        return embeddings.new_empty(len(rows), k), rows.new_empty(len(rows), k)
    if len(embeddings) <= EXACT_ROWS or embeddings.is_cuda:
        return _compare(_Table.of(embeddings), rows, k)
    return _within_clusters(_Table.of(embeddings), rows, k)


class _Table(NamedTuple):
    """Rows, the same less their mean, and the squared lengths of these, whose differences have smaller rounding errors."""

    x: Float[Tensor, "n d"]
    centered: Float[Tensor, "n d"]
    squares: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> "_Table":
        centered = x - x.mean(0)
        return cls(x, centered, torch.linalg.vector_norm(centered, dim=1).square_())


def _compare(table: _Table, rows: Int[Tensor, " m"], k: int, among: Int[Tensor, " a"] | None = None) -> Found:
    """The exact k nearest others of some rows: candidates come from matrix products, then their distances are computed exactly.

    Args:
        among: those that they are compared with, in order, the rows themselves included; by default all.
    """
    x, centered, squares = table
    theirs = (centered, squares) if among is None else (centered[among], squares[among])
    rough = x.new_empty(min(max(BLOCK // len(theirs[0]), 1), len(rows)), len(theirs[0]))  # one for all blocks: new pages take time
    found = []
    for block in rows.split(len(rough)):
        own = block if among is None else torch.searchsorted(among, block)
        here, others = _candidates(*theirs, own, k, rough[: len(block)])
        others = others if among is None else among[others]
        distances = _measure(x, block[here], others)
        order = distances.argsort(stable=True)
        order = order[here[order].argsort(stable=True)]  # by row, then distance, then the other row
        counts = here.bincount(minlength=len(block))
        best = order[(counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=x.device)]
        found.append((distances[best], others[best]))
    return torch.cat([distances for distances, _ in found]), torch.cat([others for _, others in found])


def _candidates(
    x: Float[Tensor, "n d"], squares: Float[Tensor, " n"], own: Int[Tensor, " b"], k: int, rough: Float[Tensor, "b n"]
) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Pairs (position in `own`, row) that contain all k nearest others, and few more; `rough` is room for |y|^2 - 2xy."""
    torch.addmm(squares, x[own], x.T, alpha=-2, out=rough).scatter_(1, own[:, None], torch.inf)
    # The k lowest of some columns' lowest ones are k others: the k-th nearest is no farther than they, and few are nearer.
    fold = max(min(FOLD, len(x) // (4 * k)), 1)
    lowest = rough[:, : len(x) // fold * fold].unflatten(1, (fold, -1)).amin(1)
    kth = lowest.topk(k, largest=False, sorted=False).values.amax(1)  # several times as fast as `kthvalue`
    # The error of a rough squared distance is at most e (|x| + |y|)^2 with e = (d + 4) epsilon. If |y| < 2 |x|, that is at most
    # 9 e |x|^2; otherwise |x - y| > |y| / 2, and it is at most 9 e times the squared distance. The slack is twice that, since the
    # k-th distance has an error, too.
    slack = 18 * (x.shape[1] + 4) * torch.finfo(x.dtype).eps * (squares[own] + (kth + squares[own]).clamp(min=0))
    here, others = (rough <= (kth + slack)[:, None]).nonzero(as_tuple=True)
    return here, others


def _measure(x: Float[Tensor, "n d"], some: Int[Tensor, " p"], others: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
    """Squared distances of pairs of rows, from differences: exactly equal for equal rows, and exactly zero for identical ones."""
    pairs = zip(some.split(PAIRS), others.split(PAIRS), strict=True)
    return torch.cat([(x[a] - x[b]).square_().sum(1) for a, b in pairs])


def _within_clusters(table: _Table, rows: Int[Tensor, " m"], k: int) -> Found:
    """The k nearest others among those that have a row's cluster among their nearest ones; among all if they are too few."""
    x = table.x
    lists = int(LISTS * len(x) ** 0.5)
    centers = cluster(x, lists, torch.Generator().manual_seed(0), ITERATIONS).centroids
    count = min(PROBES, lists)
    near = torch.cat([squared_distances(some, centers).topk(count, largest=False).indices for some in x.split(PAIRS // 8)])
    order = near.flatten().argsort(stable=True)
    members = order.div_(count, rounding_mode="floor").split(near.flatten().bincount(minlength=lists).tolist())
    mine = near[rows, 0]
    distances, others = x.new_empty(len(rows), k), rows.new_empty(len(rows), k)
    for number in mine.unique().tolist():
        own = (mine == number).nonzero().squeeze(1)
        among = members[number] if len(members[number]) > k else None
        distances[own], others[own] = _compare(table, rows[own], k, among)
    return distances, others
