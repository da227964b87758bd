"""Herding: at every size, the mean of the subset is near the mean of all images."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector


@selector()
def herding(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Take the image that brings the mean of those taken closest to the mean of all (herding, Chen et al. 2010, arXiv:1203.3472).

    For embeddings of equal length, that is the image with the largest inner product with Welling's weights (2009): (t + 1) times
    the mean minus the sum of those taken. For other embeddings, that product would prefer the longest. No image is taken twice.
    (DeepCore and code derived from it take the farthest image instead of the nearest.) The score is the remaining distance between
    the two means.
    """
    centered = (embeddings - embeddings.mean(0, dtype=torch.float64)).to(embeddings.dtype)
    residual = torch.zeros(1, embeddings.shape[1], dtype=torch.float64)  # minus the sum of the centered rows taken
    taken = torch.zeros(len(centered))  # inf for rows that were taken, else 0
    chosen, scores = [], []
    for size in range(1, budget + 1):
        # Distances from differences, not from matrix products, are exactly equal for equal rows.
        mode = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(centered, residual.to(centered.dtype), compute_mode=mode).squeeze(1).add_(taken)
        best = int(distances.argmin())
        chosen.append(best)
        scores.append(float(distances[best]) / size)
        residual -= centered[best]
        taken[best] = torch.inf
    return Selection(torch.tensor(chosen), torch.tensor(scores), ["keeps the mean"] * budget)
