"""Typical images of many clusters, for small budgets."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.clusters import by_turns, cluster
from dsopt.selection.contract import Selection, selector
from dsopt.selection.neighbours import nearest

TINY = 1e-5  # added to distances, as in the authors' code: the typicality of duplicates is large, not infinite


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
    """Take the most typical image of every cluster in turn, the largest cluster first (TypiClust, arXiv:2202.02794, Section 3).

    The typicality, and the score, is one over the mean distance to the `neighbours` nearest neighbours. They are searched for among
    all images, as in the paper; the authors' code searches within the cluster. Small clusters are not left out; they come last in
    every turn.
    """
    clusters = cluster(embeddings, min(budget, max_clusters), generator)
    count = min(neighbours, len(embeddings) - 1)
    distances = nearest(embeddings, count)[0].sqrt().sum(1) / max(count, 1)
    typicality = 1 / (distances + TINY)
    chosen = by_turns(clusters.assignment, typicality)[:budget]
    return Selection(chosen, typicality[chosen], [f"cluster {c}" for c in clusters.assignment[chosen].tolist()])
