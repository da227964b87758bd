"""Leave out near-duplicates until the budget is met."""

import math
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams.centroids import clustered
from dsopt.selection.streams.costs import Cost, Size, gathered, lloyd
from dsopt.selection.streams.groups import per_cluster
from dsopt.selection.streams.rows import HeldRows, Rows

BLOCK = 1 << 22  # similarities held at a time: 16 MB
FIRST = -1.0  # the lowest cosine: the first image of a cluster is no duplicate

Keep = Literal["hard", "easy", "random"]


def _passes(keep: Keep, clusters: int | None) -> Passes:
    return partial(_choose, keep=keep, clusters=clusters)


def _cost(at: Size, keep: str, clusters: int | None) -> Cost:
    count = clusters or round(math.sqrt(at.rows))
    return lloyd(at, count).plus(gathered(at)).plus(Cost(products=at.rows**2 / count * at.size, passes=0))


@selector(seeded=True, gpu=True, passes=_passes, cost=_cost)
def semantic_dedup(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    keep: Literal["hard", "easy", "random"] = "hard",
    clusters: int | None = None,
) -> Selection:
    """Leave out the images most similar to another of their cluster (SemDeDup, Abbas et al. 2023, arXiv:2303.09540, Section 3).

    The directions of the embeddings are grouped by k-means into `clusters` clusters (default: the square root of the number of
    images). In each cluster they are sorted: farthest from the centroid first (`keep=hard`), nearest first (`easy`), or randomly
    (`random`). Each image is compared with all before it, kept or not. The paper removes images above a threshold of similarity;
    here exactly the budget is kept. The score is the cosine distance to the most similar image before it; 2 for the first of a
    cluster. In passes over parts the clusters are those of `streams.centroids.kmeans`; the rest is the same.
    """
    return _choose(HeldRows(embeddings), budget, generator, keep, clusters)


def _choose(rows: Rows, budget: int, generator: torch.Generator, keep: Keep, clusters: int | None) -> Selection:
    directions, n = rows.seen_as(normalize), len(rows)
    _, assignment, squared_distances = clustered(directions, min(clusters or round(math.sqrt(n)), n), generator)
    if keep == "random":
        preference = torch.rand(n, generator=generator)
    else:
        preference = -squared_distances if keep == "hard" else squared_distances
    alike = torch.empty(n)
    for places, found in per_cluster(directions, _alike, assignment, preference):
        alike[places] = found
    chosen = alike.argsort(stable=True)[:budget]
    return Selection(chosen, 1 - alike[chosen], [f"cluster {c}" for c in assignment[chosen].tolist()])


def _alike(directions: Float[Tensor, "n d"], preference: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    order = preference.argsort(stable=True)
    alike = _most_alike_before(directions[order])
    return torch.empty_like(alike).index_copy_(0, order, alike)


def _most_alike_before(directions: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The largest cosine of each row with a row before it."""
    most, step = directions.new_full((len(directions),), FIRST), max(BLOCK // max(len(directions), 1), 1)
    for start in range(0, len(directions), step):
        stop = min(start + step, len(directions))
        cosines = directions[start:stop] @ directions[:stop].T
        most[start:stop] = cosines.masked_fill_(_not_before(start, stop).to(cosines.device), FIRST).amax(1)
    return most


def _not_before(start: int, stop: int) -> Bool[Tensor, "b n"]:
    return torch.ones(stop - start, stop, dtype=torch.bool).triu(start)
