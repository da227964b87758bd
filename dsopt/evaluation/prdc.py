"""Precision, recall, density and coverage: how real made images are, and how much of what is real they show."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.errors import InputError
from dsopt.evaluation.nearest import ROWS, distances, nearest


def prdc(real: Float[Tensor, "n d"], made: Float[Tensor, "m d"], neighbours: int = 5) -> dict[str, float]:
    """The four measures of made images by balls around images, up to the k-th nearest of their own kind.

    Precision and recall: the share of made images within a ball of a real one, and the reverse (Kynkäänniemi et al., arXiv
    1904.06991). Density and coverage: in how many balls of real images a made one is, over k, and the share of real images in whose
    ball there is a made one (Naeem et al., arXiv 2002.09797). Definitions are those of the latter's code; memory is bounded by
    blocks.

    Raises:
        InputError: not more images than neighbours.
    """
    if min(len(real), len(made)) <= neighbours:
        raise InputError(f"measure.neighbours={neighbours}: needs more images than that; there are {len(real)} and {len(made)}.")
    around_real, around_made = (nearest(x, x, neighbours + 1)[:, -1] for x in (real, made))  # an image is its own nearest
    balls, recalled, covered = 0, real.new_zeros(len(real), dtype=torch.bool), real.new_zeros(len(real), dtype=torch.bool)
    precise = 0
    for block, radii in zip(made.split(ROWS), around_made.split(ROWS), strict=True):
        inside = torch.zeros(len(block), dtype=torch.int64, device=made.device)
        for start in range(0, len(real), ROWS):
            some = slice(start, start + ROWS)
            apart = distances(real[some], block)
            within = apart < around_real[some, None]
            inside += within.sum(0)
            covered[some] |= within.any(1)
            recalled[some] |= (apart < radii).any(1)
        balls, precise = balls + int(inside.sum()), precise + int((inside > 0).sum())
    return {
        "precision": precise / len(made),
        "recall": float(recalled.double().mean()),
        "density": balls / (neighbours * len(made)),
        "coverage": float(covered.double().mean()),
    }
