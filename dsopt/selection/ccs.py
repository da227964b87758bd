"""Coverage of all degrees of difficulty except the hardest."""

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

    An image is hard if its mean margin (AUM) is low. The range of the remaining margins is divided into 50 bins of equal width,
    which share the budget equally; within a bin, images are drawn at random. What a small bin cannot take goes to the others. The
    remainder goes to the easiest bins that are not full; in the authors' code, to the largest. `cut` is the paper's beta; 0.3 is
    theirs for a tenth of CIFAR-10. The score is the margin.
    """
    margins = scores[:, 0]
    left = margins.argsort(stable=True)[number_cut(cut, len(margins), budget) :].sort().values
    bins = _bins(margins[left])
    chosen = per_class(random, torch.empty(len(left), 0), bins, budget, generator)
    rows = left[chosen.indices]
    return Selection(rows, margins[rows], [f"bin {b}" for b in bins[chosen.indices].tolist()])


def _bins(values: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The bin of each value; bin 0 has the largest values, and all of them if they are equal."""
    width = ((values.max() - values.min()) / BINS).clamp_min(torch.finfo().tiny)
    return ((values.max() - values) / width).long().clamp(max=BINS - 1)
