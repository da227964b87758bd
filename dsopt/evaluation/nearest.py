"""Nearest neighbours of rows in another set, with memory bounded by blocks; and a test for memorized images."""

import torch
from jaxtyping import Float64, Num
from torch import Tensor

ROWS = 1024  # compared at a time with as many others: 8 MB of float64


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
    """Euclidean distances of all pairs, on the device of `a`, in float64: exact for bytes, so 0 for equal images."""
    return torch.cdist(a.double(), b.to(a.device, torch.float64), compute_mode="use_mm_for_euclid_dist")


def memorised(generated: Num[Tensor, "n d"], unseen: Num[Tensor, "m d"], known: Num[Tensor, "t d"]) -> dict[str, float]:
    """Whether generated images are copies of training images, as in the data-copying test (Meehan et al. 2020, arXiv:2004.05675).

    Distances of generated images to their nearest training image are compared with those of held-out real images.

    Args:
        unseen: real images that the generator was not trained on.
        known: all images that the generator was trained on.

    Returns:
        nearest_ratio: the median distance of generated images over that of unseen images; expected 1. Far below 1, generated images
            are memorized; far above 1, they are unlike all real images.
        copied: the share of generated images that are nearer to a training image than 99 % of the unseen images are; expected 0.01.
    """
    of_generated, of_unseen = (nearest(x, known).squeeze(1) for x in (generated, unseen))
    limit = of_unseen.sort().values[len(unseen) // 100]
    ratio = float(of_generated.median() / of_unseen.median())
    return {"nearest_ratio": ratio, "copied": float((of_generated < limit).double().mean())}
