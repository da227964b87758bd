"""Typical images of many clusters: made for small budgets."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.clusters import by_turns, cluster
from dsopt.selection.contract import Selection, selector
from dsopt.selection.neighbours import nearest

TINY = 1e-5  # added to distances, as in the authors' code: duplicates are very typical, not infinitely


@selector(seeded=True)
def typiclust(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    max_clusters: int = 500,
    neighbours: int = 20,
) -> Selection:
    """Take the most typical image of every cluster by turns, the largest cluster first (TypiClust, arXiv:2202.02794, Section 3).

    Typical is what has its `neighbours` nearest neighbours near: the score is one over the mean distance to them. They are looked
    for among all images, as the paper has it, not inside the cluster, as its code does; and small clusters are not left out, they
    only come last in every turn.
    """
    clusters = cluster(embeddings, min(budget, max_clusters), generator)
    count = min(neighbours, len(embeddings) - 1)
    distances = nearest(embeddings, count)[0].sqrt().sum(1) / max(count, 1)
    typicality = 1 / (distances + TINY)
    chosen = by_turns(clusters.assignment, typicality)[:budget]
    return Selection(chosen, typicality[chosen], [f"cluster {c}" for c in clusters.assignment[chosen].tolist()])
