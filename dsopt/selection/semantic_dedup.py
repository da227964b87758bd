"""Leave out near-duplicates until the budget is met."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from dsopt.selection.clusters import cluster
from dsopt.selection.contract import Selection, selector

BLOCK = 1 << 22  # similarities looked at together: 16 MB
FIRST = -1.0  # no cosine is lower: the first of a cluster is nobody's duplicate


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
    """Leave out the images most alike to another of their cluster (SemDeDup, Abbas et al. 2023, arXiv:2303.09540, Section 3).

    The embeddings' directions are grouped by k-means into `clusters` (the root of their number, if not given). In each cluster
    they are lined up: farthest from the centroid first (`keep=hard`), nearest first (`easy`) or by chance; and each is compared
    with all before it, kept or not. Where the paper leaves out those more alike than a threshold, here exactly the budget stays.
    The score is the cosine distance to the most alike of those before; the first of a cluster has 2.
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
    """The greatest cosine of each with one before it."""
    most, step = torch.full((len(directions),), FIRST), max(BLOCK // max(len(directions), 1), 1)
    for start in range(0, len(directions), step):
        stop = min(start + step, len(directions))
        cosines = directions[start:stop] @ directions[:stop].T
        most[start:stop] = cosines.masked_fill_(_not_before(start, stop), FIRST).amax(1)
    return most


def _not_before(start: int, stop: int) -> Bool[Tensor, "b n"]:
    return torch.ones(stop - start, stop, dtype=torch.bool).triu(start)
