"""Images that cover random planes of the embedding and are not redundant there."""

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.kernels.planes import nearest, plane
from dsopt.selection.streams.costs import Cost, Size
from dsopt.selection.streams.rows import HeldRows, Rows

DRAWS = 1_000_000  # at least, so that two seeds agree
SHARED = 64  # points drawn per plane, at least: they are looked up together, in rows that were sorted once
FEW = 1 << 16  # rows; of more ...
ROWS_PER_POINT = 128  # ... so many share a point, so that sorting does not take longer than looking up
AT_ONCE = 1 << 18  # neighbours looked up at a time
SORTED = 80  # numbers touched for every row of a plane, as long as sorting takes ...
LOOKED_UP = 2000  # ... and for every neighbour, as long as looking up takes
WIDTH = 32  # elements of a bundle of planes in passes over parts, at most ...
BUNDLE_VALUES = 1 << 28  # ... and at most so many numbers: 1 GB
EXPONENT = 4  # of the distance in the redundancy penalty, from the paper
GRID = 2**20  # steps of a score between 0 and 1: sums of such scores are the same in any order


def _passes(samples: int, neighbours: int) -> Passes:
    return partial(_choose, samples=samples, neighbours=neighbours)


def _cost(at: Size, samples: int, neighbours: int) -> Cost:
    draws = max(samples * at.rows, at.classes * DRAWS)  # so many at least for each class
    touched = SORTED * at.rows * draws / _shared(at.rows) + LOOKED_UP * (min(neighbours, at.rows) + 1) * draws
    bundle = at.rows * min(WIDTH, max(BUNDLE_VALUES // at.rows, 2), at.size)
    passes, memory = (1, 8 * at.rows * at.size) if at.held else (math.ceil(2 * at.size * at.rows / bundle), 16 * bundle)
    return Cost(touched=touched, passes=passes, memory=memory + 100 * at.rows + (1 << 28))


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
    least 1,000,000; 64 points share a plane, of more than 65,536 images one for every 128; `neighbours` is 20 instead of 1,000,
    since 20 bear 97 % of the penalty, which falls with the square of the rank, and of equally near ones those count whose first
    element is lower, then the lowest rows; scores start at zero instead of at random numbers, so ties are broken by the lowest row.

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
    columns, shared = x.T.contiguous(), _shared(rows)
    planes = math.ceil(draws / shared)
    counting = torch.arange(rows, dtype=torch.int32, device=x.device)
    first = torch.randint(size, (planes,), generator=generator)
    second = (first + torch.randint(1, max(size, 2), (planes,), generator=generator)) % size  # a different one, if there is one
    pairs, counts = (first * size + second).unique(return_counts=True)
    orders = torch.stack([column.sort(stable=True).indices.int() for column in columns])
    scores, count = torch.zeros(rows, dtype=torch.float64, device=x.device), min(neighbours, rows - 1) + 1
    sorted_by, order, along, place = -1, orders[0], columns[0], orders[0]
    for pair, drawn in zip(pairs.tolist(), (counts * shared).tolist(), strict=True):
        a, b = divmod(pair, size)
        if a != sorted_by:
            sorted_by, order = a, orders[a]
            along, place = columns[a].index_select(0, order), torch.empty_like(order).index_copy_(0, order.long(), counting)
        at = _triangular(torch.rand(2, drawn, generator=generator).to(x.device), corners[:, [a, b], None])
        across = columns[b].index_select(0, order)
        points = plane(along, across, place.index_select(0, orders[b]), count)
        for at_x, at_y in zip(*(some.split(max(AT_ONCE // count, 1)) for some in at), strict=True):
            hits, times = nearest(points, at_x, at_y, 1)[1].squeeze(1).unique(return_counts=True)
            scores.index_add_(0, order[hits], times.double())
            distances, near = nearest(points, along[hits], across[hits], count)
            shares = _shares(distances.masked_fill(near == hits[:, None], torch.inf)).double()
            lost = (shares * GRID).round_().div_(GRID).mul_(times[:, None])
            scores.index_add_(0, order[near].flatten(), -lost.flatten())
    return scores


def _shared(rows: int) -> int:
    """Points drawn per plane."""
    return SHARED if rows <= FEW else rows // ROWS_PER_POINT


def _triangular(chance: Float[Tensor, "2 q"], corners: Float[Tensor, "3 2 1"]) -> Float[Tensor, "2 q"]:
    """The quantiles of triangular distributions: `corners` are minimum, mode and maximum, `chance` are probabilities."""
    low, peak, high = corners
    rising = low + (chance * (high - low) * (peak - low)).sqrt()
    falling = high - ((1 - chance) * (high - low) * (high - peak)).sqrt()
    return torch.where(chance * (high - low) < peak - low, rising, falling)


def _shares(distances: Float[Tensor, "q c"]) -> Float[Tensor, "q c"]:
    """Shares of 1, proportional to one over the fourth power of the distance: zero at infinity; points at distance 0 share all."""
    nearness = (distances.amin(1, keepdim=True) / distances).nan_to_num(nan=1.0) ** EXPONENT
    return nearness / nearness.sum(1, keepdim=True)
