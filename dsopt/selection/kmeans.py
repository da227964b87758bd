"""k-means with one cluster per selected image: a tractable approximation of the selection paper's Equation 3."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.clusters import by_turns
from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams.centroids import clustered
from dsopt.selection.streams.costs import Cost, Size, lloyd
from dsopt.selection.streams.rows import HeldRows, Rows
from dsopt.selection.streams.starts import of_sample, parallel

STARTS = {"sample": of_sample, "parallel": parallel}

Name = Literal["sample", "parallel"]
Metric = Literal["l2", "cosine"]


def _passes(iterations: int, metric: Metric, start: Name) -> Passes:
    return partial(_choose, iterations=iterations, metric=metric, start=start)


def _cost(at: Size, iterations: int, metric: str, start: str) -> Cost:
    return lloyd(at, at.budget, parallel=start == "parallel")


@selector(seeded=True, gpu=True, passes=_passes, cost=_cost)
def kmeans(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    iterations: int = 25,
    metric: Literal["l2", "cosine"] = "l2",
    start: Literal["sample", "parallel"] = "sample",
) -> Selection:
    """Take the image nearest to the centroid of each of `budget` clusters, the largest cluster first (k-means).

    The selection paper's discussion proposes k-means to approximate its Equation 3. If equal embeddings leave fewer clusters, the
    budget is filled with the next nearest images of each cluster. The score is the negative squared distance to the centroid.
    With `metric=cosine` rows and centroids have length 1 (spherical k-means, Dhillon & Modha 2001).

    In passes over parts, k-means starts from that of a sample (`streams.starts`); its inertia is as low. `start=parallel` takes
    k-means|| instead (Bahmani et al. 2012), which reads and computes more, and does not miss small groups far from all others.
    """
    return _choose(HeldRows(embeddings), budget, generator, iterations=iterations, metric=metric, start=start)


def _choose(rows: Rows, budget: int, generator: torch.Generator, *, iterations: int, metric: Metric, start: Name) -> Selection:
    clusters = clustered(rows, budget, generator, iterations, start=STARTS[start], spherical=metric == "cosine")
    closeness = -clusters.squared_distances
    chosen = by_turns(clusters.assignment, closeness)[:budget]
    return Selection(chosen, closeness[chosen], [f"cluster {c}" for c in clusters.assignment[chosen].tolist()])
