"""Neither the typical nor the atypical images of a class."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams import exact
from dsopt.selection.streams.costs import Cost, Size
from dsopt.selection.streams.rows import Blocks, HeldRows, Rows, per_row


def _passes() -> Passes:
    return _choose


def _cost(at: Size) -> Cost:
    return Cost(touched=6 * at.rows * at.size, passes=1 if at.held else 3, memory=64 * at.rows)


@selector(labels=True, gpu=True, passes=_passes, cost=_cost)
def moderate(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Take the images whose distance to the center of their class is nearest the median (Moderate coreset, Xia et al., ICLR 2023).

    The center is the mean of the class. The median is over the distances of all images, as in the authors' code; with `per_class`,
    over those of each class. The score is the negative distance to the median. Three passes over the parts give the same answer.
    """
    return _choose(HeldRows(embeddings, labels), budget, generator)


def _choose(rows: Rows, budget: int, generator: torch.Generator) -> Selection:
    names, classes = rows.labels.unique(return_inverse=True)
    distance, counts = exact.step(exact.largest(rows), len(rows)), classes.bincount(minlength=len(names))
    sums = torch.zeros(len(names), rows.size, dtype=torch.float64)
    for _, found in rows.each(partial(_sums, classes=len(names), distance=distance), classes):
        sums += found
    centers = sums * distance / counts[:, None]
    distances = per_row(rows, partial(_from_center, centers=centers), classes).float()
    closeness = -(distances - distances.median()).abs()
    chosen = closeness.argsort(descending=True, stable=True)[:budget]
    return Selection(chosen, closeness[chosen], [f"class {label}" for label in rows.labels[chosen].tolist()])


def _sums(blocks: Blocks, classes: int, distance: float) -> Float[Tensor, "c d"]:
    total = None
    for x, theirs in blocks:
        total = x.new_zeros(classes, x.shape[1], dtype=torch.float64) if total is None else total
        total.index_add_(0, theirs, exact.on_grid(x, distance))
    assert total is not None, "a task has rows"
    return total


def _from_center(x: Tensor, theirs: Tensor, centers: Tensor) -> Tensor:
    return (x.double() - centers.to(x.device)[theirs]).square_().sum(1).sqrt()
