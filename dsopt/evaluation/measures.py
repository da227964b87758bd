"""All measures of generated images compared with real ones, by their features."""

import math

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


def inception_score(logits: Float[Tensor, "n classes"]) -> float:
    """exp of the mean divergence of an image's class probabilities from the mean ones (Salimans et al. 2016, arXiv:1606.03498).

    Over all images at once, as the augmentation paper has it (section 2.5), not over ten parts. From 1 to the number of classes;
    more is better.
    """
    own = logits.double().log_softmax(1)
    whole = own.logsumexp(0) - math.log(len(own))
    return math.exp(float((own.exp() * (own - whole)).sum(1).mean()))
