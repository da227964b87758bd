"""Coverage of all degrees of difficulty but the hardest."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.balance import per_class
from dsopt.selection.by_score import number_cut
from dsopt.selection.contract import Selection, selector
from dsopt.selection.uniform import random

BINS = 50


@selector(embeddings=False, seeded=True, scores=("aum",))
def ccs(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
    *,
    cut: float = 0.3,
) -> Selection:
    """Leave out the hardest, then take equally many of every degree of difficulty (CCS, arXiv:2210.15809, algorithm 1).

    Hard is a low mean margin (AUM). The range of the margins left is cut into 50 bins of equal width, which share the budget
    equally, and chance chooses inside. What a small bin cannot take goes to the others; a remainder to the easiest bins with room,
    where the authors' code gives it to the largest. `cut` is the paper's beta; 0.3 is theirs for a tenth of CIFAR-10. The score
    is the margin.
    """
    margins = scores[:, 0]
    left = margins.argsort(stable=True)[number_cut(cut, len(margins), budget) :].sort().values
    bins = _bins(margins[left])
    chosen = per_class(random, torch.empty(len(left), 0), bins, budget, generator)
    rows = left[chosen.indices]
    return Selection(rows, margins[rows], [f"bin {b}" for b in bins[chosen.indices].tolist()])


def _bins(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """0: the greatest values; all, if they are equal."""
    width = ((values.max() - values.min()) / BINS).clamp_min(torch.finfo().tiny)
    return ((values.max() - values) / width).long().clamp(max=BINS - 1)
