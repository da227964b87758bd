"""Images that cover the planes of the embedding and stand apart there: the paper's idea for pairs of elements, by chance."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector

SHARED = 64  # places drawn in each plane: looking them up together costs less than a plane each
EXPONENT = 4


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
    """Take the images nearest to random places in random planes, unless others are near (ZCore, arXiv:2411.15349, algorithm 1).

    A plane is a pair of elements; a place in it is drawn from the triangular distributions between least, median and greatest value
    of each. The nearest image, in city-block distance, gains 1 (coverage), and those nearest to it in the plane lose 1 together, in
    proportion to one over the fourth power of their distance (redundancy); coincident ones share it.

    Deviations from the authors' code: `samples` is per image (20 for each of 50,000 are their 1,000,000); 64 places share a plane;
    `neighbours` is 20 where they have 1,000, as these bear 97 % of the penalty (it falls with the square of the rank); scores start
    at zero, not by chance: ties go by the lowest row.

    With 20 samples an image, chance decides: on 600 images of CIFAR-10, of 216 pixel means each, the scores of two seeds correlate
    by 0.01 (100 samples: 0.15, 500: 0.3), and their choices overlap no more than random ones.
    """
    rows, size = embeddings.shape
    corners = torch.stack([embeddings.amin(0), embeddings.median(0).values, embeddings.amax(0)])
    columns = embeddings.T.contiguous()
    planes = math.ceil(samples * rows / SHARED)
    first = torch.randint(size, (planes,), generator=generator).sort().values
    second = (first + torch.randint(1, max(size, 2), (planes,), generator=generator)) % size  # another, if there is one
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
    """The places at which the distribution functions of triangles (least, most likely, greatest) reach `chance`."""
    low, peak, high = corners
    rising = low + (chance * (high - low) * (peak - low)).sqrt()
    falling = high - ((1 - chance) * (high - low) * (high - peak)).sqrt()
    return torch.where(chance * (high - low) < peak - low, rising, falling)


def _nearest(
    x: Float[Tensor, " n"], y: Float[Tensor, " n"], at_x: Float[Tensor, " q"], at_y: Float[Tensor, " q"], count: int, width: int = 0
) -> tuple[Float[Tensor, "q c"], Int[Tensor, "q c"]]:
    """City-block distances and positions of the `count` nearest points, x rising, of each place.

    Only a strip of `width` points about the place's x is looked at; where points outside could be as near, a wider one. In a
    square of n scattered points, the `count` nearest lie in a strip of sqrt(2 count n).
    """
    width = min(width or 2 * math.isqrt(2 * count * len(x)) + count, len(x))
    start = (torch.searchsorted(x, at_x) - width // 2).clamp_(0, len(x) - width)
    distances = (x.unfold(0, width, 1)[start] - at_x[:, None]).abs_()
    distances += (y.unfold(0, width, 1)[start] - at_y[:, None]).abs_()
    # Coincident points are in order of row, as x was sorted stably: the first is the lowest.
    values, positions = distances.min(1, keepdim=True) if count == 1 else distances.topk(count, largest=False)
    positions += start[:, None]
    bounds = torch.cat([x.new_tensor([-torch.inf]), x, x.new_tensor([torch.inf])])
    reach = torch.minimum(at_x - bounds[start], bounds[start + width + 1] - at_x)
    narrow = (values[:, -1] >= reach).nonzero().squeeze(1)
    if len(narrow):
        values[narrow], positions[narrow] = _nearest(x, y, at_x[narrow], at_y[narrow], count, 4 * width)
    return values, positions


def _shares(distances: Float[Tensor, "q c"]) -> Float[Tensor, "q c"]:
    """Parts of 1 in proportion to one over the fourth power of the distance; infinite ones get none, those at 0 all."""
    nearness = (distances.amin(1, keepdim=True) / distances).nan_to_num(nan=1.0) ** EXPONENT
    return nearness / nearness.sum(1, keepdim=True)
