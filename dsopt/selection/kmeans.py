"""k-means with one cluster per selected image: a tractable approximation of the selection paper's Equation 3."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.clusters import by_turns, cluster
from dsopt.selection.contract import Selection, selector


@selector(seeded=True)
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
    """
    clusters = cluster(embeddings, budget, generator, iterations)
    closeness = -clusters.squared_distances
    chosen = by_turns(clusters.assignment, closeness)[:budget]
    return Selection(chosen, closeness[chosen], [f"cluster {c}" for c in clusters.assignment[chosen].tolist()])
