"""Greedy k-center: no image is far from a chosen one."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector
from dsopt.selection.distances import from_mean, squared_distances, unit
from dsopt.selection.lazy import greedy

RESOLUTION = 1e-12  # of squared distances, relative to the rows' squares: smaller ones are rounding errors of float64


@selector()
def kcenter(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    metric: Literal["l2", "cosine"] = "l2",
) -> Selection:
    """Take the image farthest from those taken (greedy k-center, Sener & Savarese 2018, arXiv:1708.00489, algorithm 1).

    The paper starts with images that are labelled already; here the first is the image nearest to the mean. The score is the
    distance to the nearest image taken before: after k images, no image is farther from them than the next score.
    """
    x = embeddings if metric == "l2" else unit(embeddings)
    first = from_mean(x).argmin(keepdim=True)
    values = _nearer(torch.full((len(x),), torch.inf), x, x[first])
    values[first] = -torch.inf
    others, squared = greedy(x, values, _nearer, budget - 1)
    radii = squared.sqrt() if metric == "l2" else squared / 2
    scores = torch.cat([torch.tensor([torch.nan]), radii])
    return Selection(torch.cat([first, others]), scores, ["nearest to the mean"] + ["farthest from those before"] * (budget - 1))


def _nearer(near: Float[Tensor, " m"], some: Float[Tensor, "m d"], taken: Float[Tensor, "t d"]) -> Float[Tensor, " m"]:
    """Update the squared distances to the nearest center with further centers."""
    squared = squared_distances(some, taken).amin(1)
    return torch.minimum(near, squared.masked_fill(squared < RESOLUTION * some.square().sum(1), 0))
