"""A subset with the mean of all images, at every size."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector


@selector()
def herding(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Take the image that brings the mean of those taken nearest to the mean of all (herding, Chen et al. 2010, arXiv:1203.3472).

    For embeddings of equal length, that is the image of the greatest product with Welling's weights (2009): (t + 1) times the mean,
    less the sum of those taken. For others, that would favour the longest. No image is taken twice. DeepCore and its copies take
    the farthest instead of the nearest. The score is the distance left between the two means.
    """
    centred = (embeddings - embeddings.mean(0, dtype=torch.float64)).to(embeddings.dtype)
    owed = torch.zeros(1, embeddings.shape[1], dtype=torch.float64)  # less the sum of those taken
    free = torch.zeros(len(centred))  # inf: taken
    chosen, scores = [], []
    for size in range(1, budget + 1):
        # By differences, and not by matrix products, equal rows are equally far.
        mode = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(centred, owed.to(centred.dtype), compute_mode=mode).squeeze(1).add_(free)
        best = int(distances.argmin())
        chosen.append(best)
        scores.append(float(distances[best]) / size)
        owed -= centred[best]
        free[best] = torch.inf
    return Selection(torch.tensor(chosen), torch.tensor(scores), ["keeps the mean"] * budget)
