"""Herding: at every size, the mean of the subset is near the mean of all images."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.balance import interleave
from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams import exact
from dsopt.selection.streams.costs import Cost, Size
from dsopt.selection.streams.rows import HeldRows, Rows

GROUP_ROWS = 1 << 19  # rows of a group in passes over parts, at most


def _passes() -> Passes:
    return _choose


def _cost(at: Size) -> Cost:
    groups = 1 if at.held else _groups(at.rows, at.budget)
    memory = 3 * 4 * at.size * (at.rows // groups)
    return Cost(touched=at.budget * at.rows / groups * at.size, passes=1 if at.held else 2 + groups, memory=memory)


@selector(gpu=True, passes=_passes, cost=_cost)
def herding(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Take the image that brings the mean of those taken closest to the mean of all (herding, Chen et al. 2010, arXiv:1203.3472).

    For embeddings of equal length, that is the image with the largest inner product with Welling's weights (2009): (t + 1) times
    the mean minus the sum of those taken. For other embeddings, that product would prefer the longest. No image is taken twice.
    (DeepCore and code derived from it take the farthest image instead of the nearest.) The score is the remaining distance between
    the two means.

    In passes over parts the rows are divided at random (always in the same way) into g groups, about half the square root of the
    budget; each group is herded to the mean of all, and the choices are interleaved. The scores are the groups' distances, and the
    distance of the whole subset is at most their average, weighted by the groups' shares of it.
    """
    found, distances = _herd(embeddings, exact.mean(HeldRows(embeddings)).to(embeddings.device), budget)
    return Selection(found.cpu(), distances.cpu(), ["keeps the mean"] * budget)


def _choose(rows: Rows, budget: int, generator: torch.Generator) -> Selection:
    count = _groups(len(rows), budget)
    group = torch.empty(len(rows), dtype=torch.int64)
    group[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))] = torch.arange(len(rows)) % count
    ends = torch.arange(count + 1) * budget // count
    chosen: dict[int, Selection] = {}
    work = partial(_herd_group, center=exact.mean(rows), ends=ends)
    for places, (found, distances) in rows.gathered(work, group, group):
        reasons = [f"keeps the mean, group {int(group[places[0]])}"] * len(found)
        chosen[int(group[places[0]])] = Selection(places[found], distances, reasons)
    return interleave([chosen[number] for number in range(count)])


def _groups(rows: int, budget: int) -> int:
    return max(-(-rows // GROUP_ROWS), min(round(budget**0.5 / 2), budget), 1)


def _herd_group(x: Tensor, group: Tensor, center: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    number = int(group[0])
    return _herd(x, center.to(x.device), int(ends[number + 1] - ends[number]))


def _herd(x: Float[Tensor, "n d"], center: Float[Tensor, " d"], budget: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
    """The rows taken, and the distance of their mean from the center after each."""
    centered = (x - center).to(x.dtype)
    residual = centered.new_zeros(1, x.shape[1], dtype=torch.float64)  # minus the sum of the centered rows taken
    taken = centered.new_zeros(len(x))  # inf for rows that were taken, else 0
    chosen, scores = [], []
    for size in range(1, budget + 1):
        # Distances from differences, not from matrix products, are exactly equal for equal rows.
        mode = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(centered, residual.to(x.dtype), compute_mode=mode).squeeze(1).add_(taken)
        nearest, best = distances.min(0, keepdim=True)
        chosen.append(best)
        scores.append(nearest / size)
        residual -= centered.index_select(0, best)
        taken.index_fill_(0, best, torch.inf)
    return torch.cat(chosen or [taken[:0].long()]), torch.cat(scores or [taken[:0]])
