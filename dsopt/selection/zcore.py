"""Images that cover random planes of the embedding and are not redundant there."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector

SHARED = 64  # points drawn per plane: faster than one plane per point, since they are looked up together
EXPONENT = 4  # of the distance in the redundancy penalty, from the paper


@selector(seeded=True)
def zcore(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    samples: int = 20,
    neighbours: int = 20,
) -> Selection:
    """Take images near random points of random planes, unless other images are near (ZCore, arXiv:2411.15349, algorithm 1).

    A plane is a pair of elements. Each coordinate of a point is drawn from the triangular distribution with the element's minimum,
    median and maximum. The nearest image, in city-block distance, gains 1 (coverage). The images nearest to it in the plane lose 1
    together, in proportion to one over the fourth power of their distance; coincident images share it (redundancy).

    Deviations from the authors' code: `samples` is per image (20 for each of 50,000 images are their 1,000,000); 64 points share a
    plane; `neighbours` is 20 instead of 1,000, since 20 bear 97 % of the penalty, which falls with the square of the rank; scores
    start at zero instead of at random numbers, so ties are broken by the lowest row.

    With 20 samples per image, the result is mostly random: on 600 images of CIFAR-10, with 216 pixel means each, the scores of two
    seeds have a correlation of 0.01 (100 samples: 0.15; 500: 0.3), and their selections overlap no more than random ones.
    """
    rows, size = embeddings.shape
    corners = torch.stack([embeddings.amin(0), embeddings.median(0).values, embeddings.amax(0)])
    columns = embeddings.T.contiguous()
    planes = math.ceil(samples * rows / SHARED)
    first = torch.randint(size, (planes,), generator=generator).sort().values
    second = (first + torch.randint(1, max(size, 2), (planes,), generator=generator)) % size  # a different one, if there is one
    scores = torch.zeros(rows, dtype=torch.float64)
    sorted_by, order, x = -1, torch.empty(0, dtype=torch.int64), torch.empty(0)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if a != sorted_by:
            sorted_by, (x, order) = a, columns[a].sort(stable=True)
        y = columns[b][order]
        at_x, at_y = _triangular(torch.rand(2, SHARED, generator=generator), corners[:, [a, b], None])
        hits = _nearest(x, y, at_x, at_y, 1)[1].squeeze(1)
        scores += order[hits].bincount(minlength=rows)
        distances, near = _nearest(x, y, x[hits], y[hits], min(neighbours, rows - 1) + 1)
        shares = _shares(distances.masked_fill(near == hits[:, None], torch.inf))
        scores.index_add_(0, order[near].flatten(), -shares.flatten().double())
    chosen = scores.argsort(descending=True, stable=True)[:budget]
    return Selection(chosen, scores[chosen].float(), ["coverage"] * budget)


def _triangular(chance: Float[Tensor, "2 q"], corners: Float[Tensor, "3 2 1"]) -> Float[Tensor, "2 q"]:
    """The quantiles of triangular distributions: `corners` are minimum, mode and maximum, `chance` are probabilities."""
    low, peak, high = corners
    rising = low + (chance * (high - low) * (peak - low)).sqrt()
    falling = high - ((1 - chance) * (high - low) * (high - peak)).sqrt()
    return torch.where(chance * (high - low) < peak - low, rising, falling)


def _nearest(
    x: Float[Tensor, " n"], y: Float[Tensor, " n"], at_x: Float[Tensor, " q"], at_y: Float[Tensor, " q"], count: int, width: int = 0
) -> tuple[Float[Tensor, "q c"], Int[Tensor, "q c"]]:
    """City-block distances and positions of the `count` points nearest to each location; points are sorted by x.

    Only a strip of `width` points around the location's x is searched; if points outside could be as near, a wider one. In a square
    of n scattered points, the `count` nearest are in a strip of about sqrt(2 count n) points.
    """
    width = min(width or 2 * math.isqrt(2 * count * len(x)) + count, len(x))
    start = (torch.searchsorted(x, at_x) - width // 2).clamp_(0, len(x) - width)
    distances = (x.unfold(0, width, 1)[start] - at_x[:, None]).abs_()
    distances += (y.unfold(0, width, 1)[start] - at_y[:, None]).abs_()
    # Coincident points are in order of row, since x was sorted stably: the first is the lowest row.
    values, positions = distances.min(1, keepdim=True) if count == 1 else distances.topk(count, largest=False)
    positions += start[:, None]
    bounds = torch.cat([x.new_tensor([-torch.inf]), x, x.new_tensor([torch.inf])])
    reach = torch.minimum(at_x - bounds[start], bounds[start + width + 1] - at_x)
    narrow = (values[:, -1] >= reach).nonzero().squeeze(1)
    if len(narrow):
        values[narrow], positions[narrow] = _nearest(x, y, at_x[narrow], at_y[narrow], count, 4 * width)
    return values, positions


def _shares(distances: Float[Tensor, "q c"]) -> Float[Tensor, "q c"]:
    """Shares of 1, proportional to one over the fourth power of the distance: zero at infinity; points at distance 0 share all."""
    nearness = (distances.amin(1, keepdim=True) / distances).nan_to_num(nan=1.0) ** EXPONENT
    return nearness / nearness.sum(1, keepdim=True)
