"""Class-balanced selection with any selector."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection


def allocate(counts: Sequence[int], budget: int) -> list[int]:
    """Divide a budget equally among classes of `counts` members; what a small class cannot take goes to the others.

    The remainder is given one each to the first classes that are not full, so the result is deterministic.

    Raises:
        ValueError: the budget exceeds the number of members.
    """
    if not 0 <= budget <= sum(counts):
        raise ValueError(f"cannot take {budget} of {sum(counts)}")
    shares, left = [0] * len(counts), budget
    while left:
        unfilled = [c for c, count in enumerate(counts) if shares[c] < count]
        each = max(left // len(unfilled), 1)
        for c in unfilled[:left]:
            share = min(each, counts[c] - shares[c])
            shares[c] += share
            left -= share
    return shares


def interleave(selections: Sequence[Selection]) -> Selection:
    """Merge the selections of classes: the best of each class, then the second best of each, so that every prefix is balanced."""
    sizes = torch.tensor([len(selection.indices) for selection in selections])
    ranks = torch.cat([torch.arange(size) for size in sizes.tolist()])
    order = ranks.argsort(stable=True)  # the classes stay in order within a rank
    reasons = [reason for selection in selections for reason in selection.reasons]
    return Selection(
        torch.cat([selection.indices for selection in selections])[order],
        torch.cat([selection.scores for selection in selections])[order],
        [reasons[i] for i in order.tolist()],
    )


def per_class(
    selector: Callable[..., Selection],
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *scores: Float[Tensor, "n s"],
) -> Selection:
    """Apply a selector to each class with its share of the budget; see `allocate` and `interleave`."""
    classes, counts = labels.unique(return_counts=True)
    chosen = []
    for label, share in zip(classes.tolist(), allocate(counts.tolist(), budget), strict=True):
        if share:
            rows = (labels == label).nonzero().squeeze(1)
            inside = selector(embeddings[rows], labels[rows], share, generator, *(some[rows] for some in scores))
            chosen.append(inside._replace(indices=rows[inside.indices]))
    return interleave(chosen)
