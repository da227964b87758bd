"""Labels that are probably wrong, by what a classifier says that has not seen the image."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dsopt.audit.contract import Found, Seen, check, worst

ROUNDING = 1e-6  # of probabilities, as in cleanlab


@check(needs="scores", unit="the smaller, the likelier an error: self-confidence, margin or AUM")
def label_errors(seen: Seen, *, rank: Literal["self_confidence", "normalised_margin", "aum"] = "self_confidence") -> Found:
    """Labels that are probably wrong by confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068).

    The probabilities must be out of fold, as those of a probe are. `rank` orders what is found: by the probability of the given
    label, by that less the largest other one, or by the AUM, where the judge's training was observed.
    """
    probabilities, labels = seen.scores["probability"], seen.labels
    values = (
        seen.scores["aum"]
        if rank == "aum"
        else {"self_confidence": self_confidence, "normalised_margin": normalised_margin}[rank](probabilities, labels)
    )
    wrong, guess = off_diagonal(probabilities, labels)
    found = worst(wrong, values)
    return found._replace(labels=guess[found.rows])


@check(needs="scores", unit="AUM: mean margin of the label over training, in logits")
def low_aum(seen: Seen, *, below: float = 0.0) -> Found:
    """Labels that the judge mostly decided against while it trained: a low AUM (Pleiss et al. 2020, arXiv:2001.10528).

    The paper takes the bound from images that are given a class of their own; here it is 0, where another class is as strong.
    """
    found = worst(seen.scores["aum"] < below, seen.scores["aum"])
    probabilities = seen.scores["probability"].scatter(1, seen.labels[:, None], -1.0)
    return found._replace(labels=probabilities.argmax(1)[found.rows])


def thresholds(probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " k"]:
    """The mean probability of each class over its own images (equation 2 of the paper); infinite for a class without any."""
    k = probabilities.shape[1]
    own = self_confidence(probabilities, labels).double()
    sums = torch.zeros(k, dtype=torch.float64).index_add(0, labels, own)
    counts = torch.bincount(labels, minlength=k)
    return torch.where(counts > 0, (sums / counts).clamp(min=2 * ROUNDING), torch.inf)


def confident(probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """The class that an image is counted for in the confident joint (equation 1); -1 for one that reaches no threshold.

    As cleanlab has it: the one class whose threshold is reached; if there are several, the class of the largest probability.
    """
    reached = probabilities >= thresholds(probabilities, labels) - ROUNDING
    count = reached.sum(1)
    alone = reached.int().argmax(1)
    return torch.where(count == 0, -1, torch.where(count == 1, alone, probabilities.argmax(1)))


def confident_joint(probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Int64[Tensor, "k k"]:
    """How many images of each given label (rows) are counted for each class (columns); not calibrated."""
    k, counted = probabilities.shape[1], confident(probabilities, labels)
    known = counted >= 0
    return torch.bincount(labels[known] * k + counted[known], minlength=k * k).view(k, k)


def off_diagonal(
    probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]
) -> tuple[Bool[Tensor, " n"], Int64[Tensor, " n"]]:
    """Which images are off the diagonal of the confident joint, and the class that each is counted for.

    As in cleanlab, not those whose given label has the largest probability.
    """
    counted = confident(probabilities, labels)
    predicted = probabilities.scatter_add(1, labels[:, None], probabilities.new_full((len(labels), 1), ROUNDING)).argmax(1)
    return (counted >= 0) & (counted != labels) & (predicted != labels), counted


def self_confidence(probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The probability of the given label."""
    return probabilities.gather(1, labels[:, None]).squeeze(1)


def normalised_margin(probabilities: Float[Tensor, "n k"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """The probability of the given label less the largest other one, from -1..1 to 0..1, as cleanlab has it."""
    others = probabilities.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (self_confidence(probabilities, labels) - others + 1) / 2
