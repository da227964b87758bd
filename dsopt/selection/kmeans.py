"""k-means with one cluster per selected image: a tractable approximation of the selection paper's Equation 3."""

from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.clusters import by_turns
from dsopt.selection.kernels.distances import nearest_centroids, unit
from dsopt.selection.streams.centroids import clustered
from dsopt.selection.streams.costs import Cost, Size, lloyd
from dsopt.selection.streams.rows import HeldRows, Rows
from dsopt.selection.streams.starts import continued, of_sample, parallel

STARTS = {"sample": of_sample, "parallel": parallel}

Name = Literal["sample", "parallel"]
Metric = Literal["l2", "cosine"]


def _passes(iterations: int, metric: Metric, start: Name) -> Passes:
    return partial(_choose, iterations=iterations, metric=metric, start=start)


def _cost(at: Size, iterations: int, metric: Metric, start: Name) -> Cost:
    return lloyd(at, at.budget, parallel=start == "parallel")


@selector(seeded=True, gpu=True, continues=True, clusters=True, passes=_passes, cost=_cost)
def kmeans(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    kept: Float[Tensor, "m d"] | None = None,
    centroids: Float[Tensor, "c d"] | None = None,
    *,
    iterations: int = 25,
    metric: Metric = "l2",
    start: Name = "sample",
) -> Selection:
    """Take the image nearest to the centroid of each of `budget` clusters, the largest cluster first (k-means).

    The selection paper's discussion proposes k-means to approximate its Equation 3. If equal embeddings leave fewer clusters, the
    budget is filled with the next nearest images of each cluster. The score is the negative squared distance to the centroid.
    With `metric=cosine` rows and centroids have length 1 (spherical k-means, Dhillon & Modha 2001).

    In passes over parts, k-means starts from that of a sample (`streams.starts`); its inertia is as low. `start=parallel` takes
    k-means|| instead (Bahmani et al. 2012), which reads and computes more, and does not miss small groups far from all others.

    With images that are `kept` there are as many clusters as images in the end. They start from the `centroids` of the earlier
    choice, or from the kept images, and go on where the others are far from these; clusters without a kept image come first.
    """
    return _choose(HeldRows(embeddings), budget, generator, kept, centroids, iterations=iterations, metric=metric, start=start)


def _choose(
    rows: Rows,
    budget: int,
    generator: torch.Generator,
    kept: Tensor | None = None,
    centroids: Tensor | None = None,
    *,
    iterations: int,
    metric: Metric,
    start: Name,
) -> Selection:
    spherical, first, k, taken = metric == "cosine", STARTS[start], budget, None
    if kept is not None and len(kept):
        kept = unit(kept.cpu()) if spherical else kept.cpu()
        k = min(len(kept) + budget, len(rows))
        if k < len(rows):  # else every row is a cluster
            first = partial(continued, first=kept if centroids is None else centroids)
    clusters = clustered(rows, k, generator, iterations, start=first, spherical=spherical)
    if kept is not None and len(kept):
        taken = nearest_centroids(kept, clusters.centroids).bincount(minlength=k)
    closeness = -clusters.squared_distances
    chosen = by_turns(clusters.assignment, closeness, taken)[:budget]
    reasons = [f"cluster {c}" for c in clusters.assignment[chosen].tolist()]
    return Selection(chosen, closeness[chosen], reasons, clusters.centroids)
