"""All measures of generated images compared with real ones, by their features."""

import torch
from jaxtyping import Float
from torch import Tensor

from dsopt.evaluation.frechet import Moments, frechet, frechet_unlimited
from dsopt.evaluation.kernel import kernel_distance
from dsopt.evaluation.prdc import prdc


def measures(
    real: Float[Tensor, "n d"], generated: Float[Tensor, "m d"], neighbours: int, generator: torch.Generator
) -> dict[str, float]:
    """Fréchet distance, kernel distance, precision, recall, density and coverage.

    Names: `frechet`; `frechet_unlimited`, extrapolated to infinitely many images; `kid`, and `kid_sd`, its standard deviation;
    `precision`, `recall`, `density`, `coverage`.
    """
    reference = Moments.of(real)
    kid, sd = kernel_distance(real, generated, generator)
    return {
        "frechet": frechet(reference, Moments.of(generated)),
        "frechet_unlimited": frechet_unlimited(reference, generated, generator),
        "kid": kid,
        "kid_sd": sd,
        **prdc(real, generated, neighbours),
    }
