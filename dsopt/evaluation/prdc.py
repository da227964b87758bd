"""Precision, recall, density and coverage: how realistic generated images are, and how much of the real variety they show."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.errors import InputError
from dsopt.evaluation.nearest import ROWS, distances, nearest


def prdc(real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], neighbours: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage, by balls around images whose radius is the distance to the k-th nearest neighbour.

    Precision: the share of generated images within a ball of a real image. Recall: the reverse (Kynkäänniemi et al. 2019,
    arXiv:1904.06991). Density: the mean number of real balls that contain a generated image, over k. Coverage: the share of real
    images whose ball contains a generated image (Naeem et al. 2020, arXiv:2002.09797). Definitions are those of the latter's code;
    memory is bounded by blocks.

    Raises:
        InputError: a set does not have more images than `neighbours`.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise InputError(
            f"measure.neighbours={neighbours}: needs more images than that; there are {len(real)} and {len(generated)}."
        )
    around_real, around_generated = (nearest(x, x, neighbours + 1)[:, -1] for x in (real, generated))  # an image is its own nearest
    # balls: pairs of a real ball and a generated image in it; precise: generated images within any real ball.
    balls, recalled, covered = 0, real.new_zeros(len(real), dtype=torch.bool), real.new_zeros(len(real), dtype=torch.bool)
    precise = 0
    for block, radii in zip(generated.split(ROWS), around_generated.split(ROWS), strict=True):
        inside = torch.zeros(len(block), dtype=torch.int64, device=generated.device)
        for start in range(0, len(real), ROWS):
            some = slice(start, start + ROWS)
            apart = distances(real[some], block)
            within = apart < around_real[some, None]
            inside += within.sum(0)
            covered[some] |= within.any(1)
            recalled[some] |= (apart < radii).any(1)
        balls, precise = balls + int(inside.sum()), precise + int((inside > 0).sum())
    return {
        "precision": precise / len(generated),
        "recall": float(recalled.double().mean()),
        "density": balls / (neighbours * len(generated)),
        "coverage": float(covered.double().mean()),
    }
