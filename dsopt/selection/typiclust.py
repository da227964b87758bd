"""Typical images of many clusters, for small budgets."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.clusters import Clusters, by_turns
from dsopt.selection.kernels.neighbours import nearest
from dsopt.selection.streams import costs
from dsopt.selection.streams.centroids import clustered
from dsopt.selection.streams.costs import Cost, Size, gathered, lloyd
from dsopt.selection.streams.groups import per_cluster
from dsopt.selection.streams.rows import HeldRows, Rows

TINY = 1e-5  # added to distances, as in the authors' code: the typicality of duplicates is large, not infinite


def _passes(max_clusters: int, neighbours: int) -> Passes:
    return partial(_choose, max_clusters=max_clusters, neighbours=neighbours)


def _cost(at: Size, max_clusters: int, neighbours: int) -> Cost:
    count = min(at.budget, max_clusters)
    if at.held:
        return lloyd(at, count).plus(costs.neighbours(at, neighbours))
    within = at.rows**2 / count
    return lloyd(at, count).plus(gathered(at)).plus(Cost(products=within * at.size, touched=6 * within, passes=0))


@selector(seeded=True, gpu=True, passes=_passes, cost=_cost)
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
    every turn. In passes over parts, neighbours are searched for within the cluster, as in the authors' code.
    """
    clusters = clustered(HeldRows(embeddings), min(budget, max_clusters), generator)
    return _best(clusters, _typicality(embeddings, neighbours=neighbours), budget)


def _choose(rows: Rows, budget: int, generator: torch.Generator, max_clusters: int, neighbours: int) -> Selection:
    clusters, typicality = clustered(rows, min(budget, max_clusters), generator), torch.empty(len(rows))
    for places, found in per_cluster(rows, partial(_typicality, neighbours=neighbours), clusters.assignment):
        typicality[places] = found
    return _best(clusters, typicality, budget)


def _typicality(x: Float[Tensor, "n d"], neighbours: int) -> Float[Tensor, " n"]:
    count = min(neighbours, len(x) - 1)
    return (1 / (nearest(x, count)[0].sqrt().sum(1) / max(count, 1) + TINY)).cpu()


def _best(clusters: Clusters, typicality: Float[Tensor, " n"], budget: int) -> Selection:
    chosen = by_turns(clusters.assignment, typicality)[:budget]
    return Selection(chosen, typicality[chosen], [f"cluster {c}" for c in clusters.assignment[chosen].tolist()])
