"""Leave out near-duplicates until the budget is met."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from dsopt.selection.clusters import cluster
from dsopt.selection.contract import Selection, selector

BLOCK = 1 << 22  # similarities held at a time: 16 MB
FIRST = -1.0  # the lowest cosine: the first image of a cluster is no duplicate


@selector(seeded=True)
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
    cluster.
    """
    directions = normalize(embeddings)
    count = min(clusters or round(math.sqrt(len(embeddings))), len(embeddings))
    _, assignment, squared_distances = cluster(directions, count, generator)
    preference = {
        "hard": -squared_distances,
        "easy": squared_distances,
        "random": torch.rand(len(embeddings), generator=generator),
    }[keep]
    order = preference.argsort(stable=True)
    alike = torch.empty(len(embeddings))
    for rows in order[assignment[order].argsort(stable=True)].split(assignment.bincount().tolist()):
        alike[rows] = _most_alike_before(directions[rows])
    chosen = alike.argsort(stable=True)[:budget]
    return Selection(chosen, 1 - alike[chosen], [f"cluster {c}" for c in assignment[chosen].tolist()])


def _most_alike_before(directions: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The largest cosine of each row with a row before it."""
    most, step = torch.full((len(directions),), FIRST), max(BLOCK // max(len(directions), 1), 1)
    for start in range(0, len(directions), step):
        stop = min(start + step, len(directions))
        cosines = directions[start:stop] @ directions[:stop].T
        most[start:stop] = cosines.masked_fill_(_not_before(start, stop), FIRST).amax(1)
    return most


def _not_before(start: int, stop: int) -> Bool[Tensor, "b n"]:
    return torch.ones(stop - start, stop, dtype=torch.bool).triu(start)
