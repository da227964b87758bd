"""The hardest images by one score from the training dynamics of a proxy, the easiest, and random ones among the easy ones."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.errors import InputError
from dsopt.selection.contract import Selection, selector


def number_cut(cut: float, rows: int, budget: int) -> int:
    """The number of hardest images to leave out: the fraction `cut` of the rows, at most so many that the budget can be met.

    Raises:
        InputError: `cut` is not in [0, 1).
    """
    if not 0 <= cut < 1:
        raise InputError(f"cut={cut}: expected a fraction in [0, 1), of the hardest images, which are left out.")
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

    Taking the hardest images suits budgets of half of the data and more. With a tenth it is far worse than random selection, as
    published (Xia et al. 2024, LBCS, table 2), since mislabelled and atypical images are the hardest. The fraction `cut` of the
    hardest images is left out first.
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
    """Take the images that were learned and forgotten most often (Toneva et al. 2019, arXiv:1812.05159, Section 3).

    Images that were never learned count as forgotten at every visit. Taking the hardest images is worse than random selection at
    small budgets, as published (CCS, arXiv:2210.15809, table 1: 34 % with a tenth of CIFAR-10). The fraction `cut` of the hardest
    images is left out first.
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

    The norm is of the last layer's gradient, at the end of one proxy run; the paper averages over ten runs, early in training.
    Taking the hardest images is worse than random selection at small budgets, as published (see `forgetting`). The fraction `cut`
    of the hardest images is left out first.
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
    """Take the images of lowest mean loss: easy images are best for small data (Sorscher et al. 2022, arXiv:2206.14486, Section 2).

    The score is the loss.
    """
    return _ranked(scores[:, 0], scores[:, 0].argsort(stable=True)[:budget], "loss")


@selector(embeddings=False, seeded=True, scores=("mean_probability",))
def random_easy(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
    *,
    cut: float = 0.5,
) -> Selection:
    """Leave out the hardest, then draw at random: easy images, as many-sided as the data.

    As `ccs` (arXiv:2210.15809), but what is left keeps its density; there, it is spread evenly over all degrees of difficulty.
    `cut` is the fraction that is left out, of each class with `select.per_class`; the smaller the budget, the larger it should be
    (docs/choosing.md). An image is hard if the proxy gives its label a low probability, which is the score.
    """
    easy = scores[:, 0].argsort(stable=True)[number_cut(cut, len(scores), budget) :]
    chosen = easy[torch.randperm(len(easy), generator=generator)[:budget]]
    return Selection(chosen, scores[chosen, 0], ["random among the easy ones"] * budget)


def _hardest(scores: Float[Tensor, "n 1"], budget: int, cut: float, name: str) -> Selection:
    first = number_cut(cut, len(scores), budget)
    return _ranked(scores[:, 0], scores[:, 0].argsort(descending=True, stable=True)[first : first + budget], name)


def _ranked(scores: Float[Tensor, " n"], chosen: Int[Tensor, " k"], name: str) -> Selection:
    return Selection(chosen, scores[chosen], [name] * len(chosen))
