"""Facility location: every image has a similar one in the subset; a submodular objective."""

import math
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.kernels.distances import similarity, squared_distances, unit
from dsopt.selection.kernels.neighbours import nearest
from dsopt.selection.streams import costs
from dsopt.selection.streams.centroids import clustered
from dsopt.selection.streams.costs import Cost, Size, gathered, lloyd
from dsopt.selection.streams.groups import per_cluster
from dsopt.selection.streams.rows import Rows

DENSE_ROWS = 10_000  # up to this number of rows the whole similarity matrix is held: 400 MB
BLOCK = 512  # rows whose first gains are computed at a time
AT_ONCE = 32  # rows whose gains are updated at a time, those with the largest bounds: batching is faster, and most are needed
CLUSTER_ROWS = 4096  # rows of a cluster, on average, in passes over parts


def _passes(neighbours: int) -> Passes:
    return partial(_choose, neighbours=neighbours)


def _cost(at: Size, neighbours: int) -> Cost:
    if at.held and at.rows > DENSE_ROWS:
        return costs.neighbours(at, neighbours)
    dense = at.rows * min(at.rows, DENSE_ROWS if at.held else 2 * CLUSTER_ROWS)  # clusters are not of equal size
    own = Cost(products=2 * dense * at.size, touched=8 * dense, passes=0, memory=8 * min(at.rows, DENSE_ROWS) ** 2)
    return own if at.held else lloyd(at, max(round(at.rows / CLUSTER_ROWS), 1)).plus(gathered(at)).plus(own)


@selector(gpu=True, continues=True, passes=_passes, cost=_cost)
def facility_location(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    kept: Float[Tensor, "m d"] | None = None,
    *,
    neighbours: int = 100,
) -> Selection:
    """Take the image that represents the others best, given those taken (facility location; Lin & Bilmes 2009; Mirzasoleiman 2013).

    The objective is the sum over all images i of s(i, j), with j the most similar image taken and s = (1 + cosine) / 2. With more
    than `DENSE_ROWS` rows, an image can only be represented by itself and its `neighbours` nearest neighbours. The result is
    exactly that of the plain greedy algorithm. The score is the gain. Use it with `per_class`, as DeepCore (arXiv:2204.08499) does.

    In passes over parts, an image can only be represented by images of its cluster, of about `CLUSTER_ROWS` by k-means; one of
    more than `DENSE_ROWS` is divided again. That objective is at most the whole one; the result is exactly that of the plain greedy
    algorithm for it, and so at least 1 - 1/e of its optimum. Images that are `kept` represent the others, of any cluster, from the
    start.
    """
    found, gains = _greedy(embeddings, budget, neighbours, kept)
    return Selection(found, gains, ["represents others"] * budget)


def _choose(rows: Rows, budget: int, generator: torch.Generator, kept: Tensor | None = None, *, neighbours: int) -> Selection:
    """Greedy in every cluster, merged by gain: what is taken in one cluster changes no gain in another."""
    generator = torch.Generator().manual_seed(0)  # of k-means: the method draws nothing
    directions, n = rows.seen_as(unit), len(rows)
    assignment = _divided(directions, clustered(directions, max(round(n / CLUSTER_ROWS), 1), generator).assignment)
    sizes = assignment.bincount()
    depth = torch.minimum((2 * sizes * (budget / n)).ceil().long() + 8, sizes)
    todo = torch.ones_like(sizes, dtype=torch.bool)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    while todo.any():
        now = torch.where(todo[assignment], assignment, -1)
        for places, (own, gains) in per_cluster(
            rows, partial(_greedy_cluster, neighbours=neighbours, kept=kept), now, depth[assignment]
        ):
            found[int(assignment[places[0]])] = places[own], gains
        clusters = sorted(found)
        places, gains = (torch.cat([found[c][side] for c in clusters]) for side in (0, 1))
        order = places.argsort()  # among equal gains the lowest row, as in the plain algorithm
        order = order[gains[order].argsort(descending=True, stable=True)][:budget]
        used = assignment[places[order]].bincount(minlength=len(sizes))
        todo = (used == depth) & (depth < sizes)  # perhaps further rows of this cluster are better than the last of these
        depth = torch.where(todo, torch.minimum(2 * depth, sizes), depth)
    chosen = places[order]  # pyright: ignore[reportPossiblyUnboundVariable]
    reasons = [f"represents others of cluster {c}" for c in assignment[chosen].tolist()]
    return Selection(chosen, gains[order], reasons)  # pyright: ignore[reportPossiblyUnboundVariable]


def _divided(rows: Rows, assignment: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Clusters, of which those of more than `DENSE_ROWS` rows are divided by k-means: their similarities would not be held."""
    large = assignment.bincount() > DENSE_ROWS
    found, count = assignment.clone(), len(large)
    parts = per_cluster(rows, _parts, torch.where(large[assignment], assignment, -1))
    for _, places, inner in sorted((int(assignment[places[0]]), places, inner) for places, inner in parts):
        found[places], count = count + inner, count + int(inner.max()) + 1
    return torch.unique(found, return_inverse=True)[1]


def _parts(x: Float[Tensor, "m d"]) -> Int[Tensor, " m"]:
    return cluster(x, math.ceil(len(x) / CLUSTER_ROWS), torch.Generator().manual_seed(0)).assignment


def _greedy_cluster(embeddings: Tensor, depth: Tensor, neighbours: int, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    return _greedy(embeddings, int(depth[0]), neighbours, kept)


def _greedy(
    embeddings: Float[Tensor, "n d"], budget: int, neighbours: int, kept: Float[Tensor, "m d"] | None
) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    x, rows = unit(embeddings), len(embeddings)
    similarities = _Dense.of(x) if rows <= DENSE_ROWS else _Graph.of(x, min(neighbours, rows - 1))
    for few in unit(kept.to(x.device)).split(BLOCK) if kept is not None and len(kept) else ():
        best = torch.cat([similarity(squared_distances(block, few)).amax(1) for block in x.split(DENSE_ROWS)])
        torch.maximum(similarities.represented, best.float(), out=similarities.represented)
    return _maximise(similarities, budget)


def _maximise(similarities: "_Dense | _Graph", budget: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The greedy algorithm, and its gains. Lazy (Minoux 1978): gains only fall, so an old gain is an upper bound.

    This holds for the computed gains, too, since rounded addition is monotone.
    """
    rows, device = len(similarities.represented), similarities.represented.device
    bounds = torch.cat([similarities.gains(block) for block in torch.arange(rows, device=device).split(BLOCK)])
    if similarities.represented.is_cuda:
        return _without_waiting(similarities, bounds, budget)
    seen = torch.zeros(rows, dtype=torch.int64)  # the number of rows taken when the bound was computed
    chosen, scores = [], []
    while len(chosen) < budget:
        best = int(bounds.argmax())
        if seen[best] == len(chosen):
            chosen.append(best)
            scores.append(float(bounds[best]))
            similarities.take(torch.tensor([best]))
            bounds[best] = -torch.inf
        else:
            stale = torch.cat([bounds.topk(min(AT_ONCE, rows)).indices, torch.tensor([best])])
            bounds[stale] = torch.minimum(bounds[stale], similarities.gains(stale))  # those taken stay at -inf
            seen[stale] = len(chosen)
    return torch.tensor(chosen, dtype=torch.int64), torch.tensor(scores)


def _without_waiting(similarities: "_Dense | _Graph", gains: Tensor, budget: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The plain greedy algorithm on a GPU: all gains after every choice, of which the host sees none."""
    chosen, scores = [], []
    for _ in range(budget):
        worth, best = gains.max(0, keepdim=True)
        chosen.append(best)
        scores.append(worth)
        similarities.take(best)
        gains = torch.minimum(gains, similarities.all_gains()).index_fill(0, best, -torch.inf)
    return torch.cat(chosen).cpu(), torch.cat(scores).cpu()


class _Dense(NamedTuple):
    """The similarity matrix, and each row's similarity to the most similar row taken so far."""

    similar: Float[Tensor, "n n"]
    represented: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> "_Dense":
        similar = torch.cat([similarity(squared_distances(block, x)) for block in x.split(BLOCK)])
        return cls(similar, similar.new_zeros(len(x)))

    def gains(self, rows: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        return (self.similar[rows] - self.represented).clamp_(min=0).sum(1)

    def all_gains(self) -> Float[Tensor, " n"]:
        return torch.cat([(block - self.represented).clamp_(min=0).sum(1) for block in self.similar.split(BLOCK)])

    def take(self, row: Int[Tensor, " 1"]) -> None:
        torch.maximum(self.represented, self.similar.index_select(0, row)[0], out=self.represented)


class _Graph(NamedTuple):
    """A sparse matrix: for every row j, the rows i that have j among their nearest neighbours, and s(i, j), as in CSR format."""

    starts: Int[Tensor, " n+1"]
    others: Int[Tensor, " e"]
    similar: Float[Tensor, " e"]
    represented: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"], k: int) -> "_Graph":
        squared, indices = nearest(x, k)
        itself = torch.arange(len(x), device=x.device)[:, None]
        by_neighbour, order = torch.cat([itself, indices], 1).flatten().sort(stable=True)
        similar = torch.cat([x.new_ones(len(x), 1), similarity(squared)], 1).flatten()[order]
        starts = torch.searchsorted(by_neighbour, torch.arange(len(x) + 1, device=x.device))
        return cls(starts, order // (k + 1), similar, x.new_zeros(len(x)))

    def gains(self, rows: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        edges = torch.arange(int(lengths.sum()), device=rows.device) + (first - lengths.cumsum(0) + lengths).repeat_interleave(
            lengths
        )
        gains = (self.similar[edges] - self.represented[self.others[edges]]).clamp_(min=0)
        return torch.segment_reduce(gains, "sum", lengths=lengths)

    def all_gains(self) -> Float[Tensor, " n"]:
        gains = (self.similar - self.represented[self.others]).clamp_(min=0)
        return torch.segment_reduce(gains, "sum", offsets=self.starts)

    def take(self, row: Int[Tensor, " 1"]) -> None:
        if row.is_cuda:  # all edges are looked at: how many are of this row only the device knows
            edge = torch.arange(len(self.others), device=row.device)
            mine = (edge >= self.starts.index_select(0, row)) & (edge < self.starts.index_select(0, row + 1))
            self.represented.scatter_reduce_(0, self.others, self.similar * mine, "amax")
            return
        edges = slice(int(self.starts[row]), int(self.starts[row + 1]))
        others = self.others[edges]
        self.represented[others] = torch.maximum(self.represented[others], self.similar[edges])
