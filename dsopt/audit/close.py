"""All pairs of embeddings that nearly coincide, with fewer comparisons than of all with all where the bound is small."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

ROWS = 2048  # compared at a time with as many others: 16 MB
SAMPLE = 8192  # rows from which the direction is taken along which the rows are sorted


def pairs_closer(x: Float[Tensor, "n d"], radius: float) -> Iterator[tuple[Tensor, Tensor, Float[Tensor, " p"]]]:
    """All pairs of rows, each once and the lower row first, at most `radius` apart in Euclidean distance, in blocks.

    Exact: rows are sorted by their projection on the direction of largest variance. Projections of near rows are as near, so blocks
    are compared only while their projections are. What the matrix product finds, with room for its rounding, is measured again by
    differences. On the device of `x`. With n rows of d numbers n^2 d multiplications at most, and 16 MB beside the rows.
    """
    x = x - x.mean(0)
    along = x @ _direction(x)
    order = along.argsort(stable=True)
    x, along, squares = x[order], along[order], x[order].square().sum(1)
    # The rounding of a product of sums of d squares is at most (d + 4) epsilon (|x| + |y|)^2, of a projection d epsilon |x|.
    rounding = (x.shape[1] + 4) * torch.finfo(x.dtype).eps
    starts = range(0, len(x), ROWS)
    lowest, highest = (along[[min(s + last, len(x) - 1) for s in starts]].tolist() for last in (0, ROWS - 1))
    room = radius + 2 * rounding * float(squares.max().sqrt()) if len(x) else radius
    for i, here in enumerate(starts):
        a = x[here : here + ROWS]
        for j in range(i, len(starts)):
            if lowest[j] - highest[i] > room:
                break
            b = x[starts[j] : starts[j] + ROWS]
            others = squares[starts[j] : starts[j] + ROWS]
            rough = torch.addmm(others, a, b.T, alpha=-2).add_(squares[here : here + ROWS, None])
            bound = radius**2 + 4 * rounding * (squares[here : here + ROWS].max() + others.max())
            some, other = (rough <= bound).nonzero(as_tuple=True)
            if i == j:
                some, other = some[some < other], other[some < other]
            distances = (a[some].double() - b[other].double()).norm(dim=1)
            near = distances <= radius
            one, two = order[here + some[near]], order[starts[j] + other[near]]
            yield torch.minimum(one, two), torch.maximum(one, two), distances[near].float()


def _direction(x: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """About the direction of the largest variance, of unit length: any direction is right, a good one saves comparisons."""
    some = x[:: max(1, len(x) // SAMPLE)].double()
    return torch.linalg.eigh(some.T @ some)[1][:, -1].to(x.dtype)


def median_nearest(x: Float[Tensor, "n d"]) -> float:
    """The median distance to the nearest other row, of at most 2,048 rows spread evenly over all; 0 if there is no other row."""
    if len(x) < 2:
        return 0.0
    some = torch.linspace(0, len(x) - 1, min(len(x), ROWS), dtype=torch.float64).long().unique().to(x.device)
    nearest = torch.full((len(some),), torch.inf, device=x.device)
    for start in range(0, len(x), ROWS):
        distances = torch.cdist(x[some], x[start : start + ROWS], compute_mode="use_mm_for_euclid_dist")
        distances[some[:, None] == torch.arange(start, start + distances.shape[1], device=x.device)] = torch.inf
        nearest = torch.minimum(nearest, distances.amin(1))
    return float(nearest.median())
