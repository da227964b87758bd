"""All distances of made images from real ones, by their features."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.evaluation.frechet import Moments, frechet, unlimited
from dsopt.evaluation.kernel import kernel_distance
from dsopt.evaluation.prdc import prdc


def measures(
    real: Float[Tensor, "n d"], made: Float[Tensor, "m d"], neighbours: int, generator: torch.Generator
) -> dict[str, float]:
    """Fréchet distance (`frechet`), what it would be with images without end (`frechet_unlimited`), kernel distance and its
    deviation (`kid`, `kid_sd`), `precision`, `recall`, `density` and `coverage`.
    """
    reference = Moments.of(real)
    kid, deviation = kernel_distance(real, made, generator)
    return {
        "frechet": frechet(reference, Moments.of(made)),
        "frechet_unlimited": unlimited(reference, made, generator),
        "kid": kid,
        "kid_sd": deviation,
        **prdc(real, made, neighbours),
    }
