"""The hardest images by one score of the training dynamics, and the easiest."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.errors import InputError
from dsopt.selection.contract import Selection, selector


def number_cut(cut: float, rows: int, budget: int) -> int:
    """How many of the hardest are left out: a share of the rows, but never so many that the budget could not be met.

    Raises:
        InputError: not a share.
    """
    if not 0 <= cut < 1:
        raise InputError(f"cut={cut}: the share of the hardest images to leave out is in [0, 1).")
    return min(round(cut * rows), rows - budget)


@selector(embeddings=False, scores=("el2n",))
def el2n(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
    *,
    cut: float = 0.0,
) -> Selection:
    """Take the images whose predictions are farthest from the label (EL2N, Paul et al. 2021, arXiv:2107.07075, definition 2.2).

    Hardest first is meant for budgets of half the data and more: with a tenth it falls far below chance, as published (Xia et al.
    2024, LBCS, table 2), for mislabelled and odd images are the hardest. `cut` leaves out a share of the hardest first.
    """
    return _hardest(scores, budget, cut, "el2n")


@selector(embeddings=False, scores=("forgetting",))
def forgetting(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
    *,
    cut: float = 0.0,
) -> Selection:
    """Take the images that were learnt and forgotten most often (Toneva et al. 2019, arXiv:1812.05159, Section 3).

    Images never learnt count as forgotten at every visit. Hardest first falls below chance at small budgets, as published (CCS,
    arXiv:2210.15809, table 1: 34 % with a tenth of CIFAR-10). `cut` leaves out a share of the hardest first.
    """
    return _hardest(scores, budget, cut, "forgetting")


@selector(embeddings=False, scores=("grand",))
def grand(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
    *,
    cut: float = 0.0,
) -> Selection:
    """Take the images with the largest gradients (GraNd, Paul et al. 2021, arXiv:2107.07075, definition 2.1).

    The norm is that of the last layer's gradient, at the end of one proxy run instead of early in ten. Hardest first falls below
    chance at small budgets, as published (as above). `cut` leaves out a share of the hardest first.
    """
    return _hardest(scores, budget, cut, "grand")


@selector(embeddings=False, scores=("loss",))
def easiest(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
) -> Selection:
    """Take the images of lowest mean loss: with few data, easy ones teach most (Sorscher et al. 2022, arXiv:2206.14486, Section 2).

    The score is the loss.
    """
    return _ranked(scores[:, 0], scores[:, 0].argsort(stable=True)[:budget], "loss")


def _hardest(scores: Float[Tensor, "n 1"], budget: int, cut: float, name: str) -> Selection:
    first = number_cut(cut, len(scores), budget)
    return _ranked(scores[:, 0], scores[:, 0].argsort(descending=True, stable=True)[first : first + budget], name)


def _ranked(scores: Float[Tensor, " n"], chosen: Int[Tensor, " k"], name: str) -> Selection:
    return Selection(chosen, scores[chosen], [name] * len(chosen))
