"""Nested subsets with the classes in the shares of the data."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector


@selector(embeddings=False, labels=True, seeded=True)
def stratified(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Take every class in its share of the data, by chance within it; a smaller budget's images are among a larger one's.

    The augmentation paper's successive stratified sampling (section 2.1): there every subset is drawn from the one before, here all
    are the beginnings of one order, so that any budget of the same seed fits. Image j of a class of m comes at (j + 1/2) / m, so
    that the shares of every beginning are Webster's apportionment (the method of odd numbers, Sainte-Laguë 1910): exact where they
    are whole numbers. Largest remainders would not do: with them a class may lose an image as the budget grows (the Alabama
    paradox).
    """
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]  # class by class, by chance within
    _, counts = labels.unique(return_counts=True)
    members = counts.repeat_interleave(counts)
    within = torch.arange(len(labels)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    places = (within.double() + 0.5) / members
    indices = order[places.argsort(stable=True)[:budget]]
    return Selection(indices, torch.full((budget,), torch.nan), ["random, its class in its share"] * budget)
