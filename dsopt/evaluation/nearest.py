"""The nearest neighbours of rows among others, with memory bounded by blocks; and what they tell about copying."""

import torch
from jaxtyping import Float64, Num
from torch import Tensor

ROWS = 1024  # compared at once with as many others


def nearest(some: Num[Tensor, "n d"], others: Num[Tensor, "m d"], k: int = 1) -> Float64[Tensor, "n k"]:
    """The distances of every row to its k nearest others, in ascending order."""
    found = []
    for block in some.split(ROWS):
        best = block.new_full((len(block), k), torch.inf, dtype=torch.float64)
        for there in others.split(ROWS):
            best = torch.cat([best, distances(block, there)], 1).topk(k, largest=False).values
        found.append(best)
    return torch.cat(found)


def distances(a: Num[Tensor, "n d"], b: Num[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    """Euclidean distances of all pairs, on the device of `a`, in float64: those of bytes are exact, 0 for equal images."""
    return torch.cdist(a.double(), b.to(a.device, torch.float64), compute_mode="use_mm_for_euclid_dist")


def memorised(made: Num[Tensor, "n d"], unseen: Num[Tensor, "m d"], known: Num[Tensor, "t d"]) -> dict[str, float]:
    """Whether made images were copied: their distances to the nearest known ones, beside those of real images held out.

    The comparison is that of the data-copying test (Meehan et al., arXiv 2004.05675).

    Args:
        known: all images that the generator has learned from.

    Returns:
        nearest_ratio: the median distance of made images over that of unseen ones. Far below 1, what was made was learned by
            heart; 1 is right; far above 1, it is unlike all that is real.
        copied: the share of made images nearer to a known image than all but 1 % of the unseen ones are. 0.01 is right.
    """
    of_made, of_unseen = (nearest(x, known).squeeze(1) for x in (made, unseen))
    limit = of_unseen.sort().values[len(unseen) // 100]
    return {"nearest_ratio": float(of_made.median() / of_unseen.median()), "copied": float((of_made < limit).double().mean())}
