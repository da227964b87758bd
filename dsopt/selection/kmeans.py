"""k-means with one cluster per selected image: a tractable approximation of the selection paper's Equation 3."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.clusters import by_turns
from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams.centroids import clustered
from dsopt.selection.streams.costs import Cost, Size, lloyd
from dsopt.selection.streams.rows import HeldRows, Rows


def _passes(iterations: int) -> Passes:
    return partial(_choose, iterations=iterations)


def _cost(at: Size, iterations: int) -> Cost:
    return lloyd(at, at.budget)


@selector(seeded=True, gpu=True, passes=_passes, cost=_cost)
def kmeans(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    iterations: int = 25,
) -> Selection:
    """Take the image nearest to the centroid of each of `budget` clusters, the largest cluster first (k-means).

    The selection paper's discussion proposes k-means to approximate its Equation 3. If equal embeddings leave fewer clusters, the
    budget is filled with the next nearest images of each cluster. The score is the negative squared distance to the centroid.
    In passes over parts, k-means starts from that of a sample (`streams.centroids.kmeans`); its inertia is as low.
    """
    return _choose(HeldRows(embeddings), budget, generator, iterations)


def _choose(rows: Rows, budget: int, generator: torch.Generator, iterations: int) -> Selection:
    clusters = clustered(rows, budget, generator, iterations)
    closeness = -clusters.squared_distances
    chosen = by_turns(clusters.assignment, closeness)[:budget]
    return Selection(chosen, closeness[chosen], [f"cluster {c}" for c in clusters.assignment[chosen].tolist()])
