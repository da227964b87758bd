"""Nested subsets with the class proportions of the data."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector


@selector(embeddings=False, labels=True, seeded=True)
def stratified(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Draw randomly within each class, in proportion to its size; the subset of a smaller budget is part of that of a larger one.

    This is the augmentation paper's successive stratified sampling (section 2.1). There, every subset is drawn from the previous
    one; here, subsets are the prefixes of one order, so budgets may come in any sequence. Image j of a class of m images is at
    position (j + 1/2) / m. So the class sizes of every prefix are Webster's apportionment (Sainte-Laguë 1910), exact where the
    proportions are whole numbers. The method of largest remainders would not give nested subsets: with it, a class may lose an
    image when the budget grows (the Alabama paradox).
    """
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]  # class by class, random within a class
    _, counts = labels.unique(return_counts=True)
    members = counts.repeat_interleave(counts)
    within = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    places = (within.double() + 0.5) / members
    indices = order[places.argsort(stable=True)[:budget]]
    return Selection(indices, torch.full((budget,), torch.nan), ["random, its class in its share"] * budget)
