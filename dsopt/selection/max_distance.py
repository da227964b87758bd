"""The selection paper's first idea: images far from each other."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector
from dsopt.selection.kernels.distances import squared_distances, unit
from dsopt.selection.streams import exact
from dsopt.selection.streams.costs import Cost, Size, one_by_one
from dsopt.selection.streams.lazy import greedy
from dsopt.selection.streams.rows import HeldRows


def _cost(at: Size, metric: str) -> Cost:
    return one_by_one(at)


@selector(gpu=True, cost=_cost)
def max_distance(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    metric: Literal["l2", "cosine"] = "l2",
) -> Selection:
    """Take the image with the greatest sum of distances to those taken (the selection paper, Section 4.3, Equation 3).

    Equation 3 asks for the subset with the largest sum of pairwise distances, which is NP-hard; this is the greedy solution. It
    starts with the image farthest from the mean, whose squared distances to all images have the largest sum. Sums favor images at
    the border of the data, which may be near each other; `kcenter` spreads them. The score is the sum of distances to the images
    taken before.
    """
    x = embeddings if metric == "l2" else unit(embeddings)
    squares = exact.from_mean(HeldRows(x)).to(x.device)
    # `greedy` needs values that fall, and sums of distances grow: subtract the largest possible distance from each distance, which
    # keeps the order. It is a float32 number, rounded up, so that sums in float64 stay exact.
    most = 2 * float(squares.max().sqrt().float() * (1 + 2**-20)) if metric == "l2" else 2.0

    def lower(sums: Float[Tensor, " m"], some: Float[Tensor, "m d"], taken: Float[Tensor, "t d"]) -> Float[Tensor, " m"]:
        squared = squared_distances(some, taken)
        distances = squared.sqrt_() if metric == "l2" else squared / 2
        # Sums of float32 numbers in float64 are exact, so they do not depend on how many rows are added at a time.
        return sums + distances.sum(1, dtype=torch.float64) - len(taken) * most

    first = squares.argmax(keepdim=True)
    values = lower(torch.zeros_like(squares), x, x[first])
    values[first] = -torch.inf
    others, sums = greedy(x, values, lower, budget - 1)
    first = first.cpu()
    sums = torch.cat([torch.zeros(1), sums + most * torch.arange(1, budget)])
    reasons = ["farthest from the mean"] + ["far from those before"] * (budget - 1)
    return Selection(torch.cat([first, others]), sums.float(), reasons)
