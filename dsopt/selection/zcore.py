"""Images that cover random planes of the embedding and are not redundant there."""

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams.costs import Cost, Size
from dsopt.selection.streams.rows import HeldRows, Rows

DRAWS = 1_000_000  # at least, so that two seeds agree
SHARED = 64  # points drawn per plane, at least: they are looked up together, in rows that were sorted once
ROWS_PER_POINT = 1024  # of more rows so many share a point, so that sorting does not take longer than looking up
AT_ONCE = 1 << 21  # distances computed at a time
WIDTH = 32  # elements of a bundle of planes in passes over parts, at most ...
BUNDLE_VALUES = 1 << 28  # ... and at most so many numbers: 1 GB
EXPONENT = 4  # of the distance in the redundancy penalty, from the paper
GRID = 2**20  # steps of a score between 0 and 1: sums of such scores are the same in any order


def _passes(samples: int, neighbours: int) -> Passes:
    return partial(_choose, samples=samples, neighbours=neighbours)


def _cost(at: Size, samples: int, neighbours: int) -> Cost:
    looked_at = _strip(at.rows, 1) + 3 * _strip(at.rows, neighbours + 1)
    bundle = at.rows * min(WIDTH, max(BUNDLE_VALUES // at.rows, 2), at.size)
    passes, memory = (1, 4 * at.rows * at.size) if at.held else (math.ceil(2 * at.size * at.rows / bundle), 12 * bundle)
    return Cost(touched=2 * max(samples * at.rows, DRAWS) * looked_at, passes=passes, memory=memory + (1 << 28))


@selector(seeded=True, gpu=True, passes=_passes, cost=_cost)
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

    Deviations from the authors' code: `samples` is per image (20 for each of 50,000 images are their 1,000,000), and there are at
    least 1,000,000; 64 points or more share a plane; `neighbours` is 20 instead of 1,000, since 20 bear 97 % of the
    penalty, which falls with the square of the rank; scores start at zero instead of at random numbers, so ties are broken by the
    lowest row.

    In passes over parts, planes come in bundles, each of random elements of which one process holds those of all rows. Every plane
    is as probable as before; the answers differ as those of two seeds do.
    """
    return _choose(HeldRows(embeddings), budget, generator, samples, neighbours)


def _choose(rows: Rows, budget: int, generator: torch.Generator, samples: int, neighbours: int) -> Selection:
    n, size = len(rows), rows.size
    width = size if isinstance(rows, HeldRows) else min(size, WIDTH, max(BUNDLE_VALUES // n, 2))
    bundles = 1 if width == size else math.ceil(2 * size / width)
    columns = [torch.arange(size) if bundles == 1 else torch.randperm(size, generator=generator)[:width] for _ in range(bundles)]
    seeds = torch.randint(2**62, (bundles,), generator=generator).tolist()
    work = partial(_scores, draws=math.ceil(max(samples * n, DRAWS) / bundles), seeds=seeds, neighbours=neighbours)
    scores = torch.zeros(n, dtype=torch.float64)
    for _, found in rows.transposed(work, columns):
        scores += found
    chosen = scores.argsort(descending=True, stable=True)[:budget]
    return Selection(chosen, scores[chosen].float(), ["coverage"] * budget)


def _scores(x: Float[Tensor, "n c"], number: int, draws: int, seeds: list[int], neighbours: int) -> Float[Tensor, " n"]:
    """What every row gains and loses by points of planes of these elements."""
    generator, (rows, size) = torch.Generator().manual_seed(seeds[number]), x.shape
    corners = torch.stack([x.amin(0), x.median(0).values, x.amax(0)])
    columns, shared = x.T.contiguous(), max(SHARED, rows // ROWS_PER_POINT)
    planes = math.ceil(draws / shared)
    first = torch.randint(size, (planes,), generator=generator)
    second = (first + torch.randint(1, max(size, 2), (planes,), generator=generator)) % size  # a different one, if there is one
    pairs, counts = (first * size + second).unique(return_counts=True)
    scores = torch.zeros(rows, dtype=torch.float64, device=x.device)
    sorted_by, order, along = -1, torch.empty(0, dtype=torch.int64), torch.empty(0)
    for pair, count in zip(pairs.tolist(), (counts * shared).tolist(), strict=True):
        a, b = divmod(pair, size)
        if a != sorted_by:
            sorted_by, (along, order) = a, columns[a].sort(stable=True)
        across = columns[b][order]
        places = _triangular(torch.rand(2, count, generator=generator).to(x.device), corners[:, [a, b], None])
        for at_x, at_y in zip(*(some.split(max(AT_ONCE // _strip(rows, neighbours + 1), 1)) for some in places), strict=True):
            hits = _nearest(along, across, at_x, at_y, 1)[1].squeeze(1)
            scores += order[hits].bincount(minlength=rows)
            distances, near = _nearest(along, across, along[hits], across[hits], min(neighbours, rows - 1) + 1)
            shares = _shares(distances.masked_fill(near == hits[:, None], torch.inf)).double()
            scores.index_add_(0, order[near].flatten(), -(shares * GRID).round_().div_(GRID).flatten())
    return scores


def _strip(rows: int, count: int) -> int:
    """How many rows of scattered ones to look at for the `count` nearest."""
    return min(2 * math.isqrt(2 * count * rows) + count, rows)


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
    width = min(width or _strip(len(x), count), len(x))
    start = (torch.searchsorted(x, at_x) - width // 2).clamp_(0, len(x) - width)
    distances = (x.unfold(0, width, 1)[start] - at_x[:, None]).abs_()
    distances += (y.unfold(0, width, 1)[start] - at_y[:, None]).abs_()
    # Coincident points are in order of row, since x was sorted stably: the first is the lowest row.
    values, positions = distances.min(1, keepdim=True) if count == 1 else distances.topk(count, largest=False)
    positions += start[:, None]
    bounds = torch.cat([x.new_full((1,), -torch.inf), x, x.new_full((1,), torch.inf)])
    reach = torch.minimum(at_x - bounds[start], bounds[start + width + 1] - at_x)
    narrow = (values[:, -1] >= reach).nonzero().squeeze(1)
    if len(narrow):
        values[narrow], positions[narrow] = _nearest(x, y, at_x[narrow], at_y[narrow], count, 4 * width)
    return values, positions


def _shares(distances: Float[Tensor, "q c"]) -> Float[Tensor, "q c"]:
    """Shares of 1, proportional to one over the fourth power of the distance: zero at infinity; points at distance 0 share all."""
    nearness = (distances.amin(1, keepdim=True) / distances).nan_to_num(nan=1.0) ** EXPONENT
    return nearness / nearness.sum(1, keepdim=True)
