"""Negative log-likelihoods of images given a decoder's output: summed over each image, averaged over the batch.

Sums, not means, over the pixels: only then is the balance with the divergence of the code that of the evidence lower bound (Kingma
& Welling 2014, arXiv:1312.6114, eq. 7; augmentation paper, eq. 5).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dsopt.registry import LIKELIHOODS


@LIKELIHOODS.register(low=0.0)
def bernoulli(generated: Float[Tensor, "b c h w"], real: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Pixels in 0..1 as the probabilities of white (augmentation paper, section 2.4.2)."""
    # The clamp keeps both logarithms finite.
    return F.binary_cross_entropy(generated.clamp(1e-7, 1 - 1e-7), real, reduction="sum") / len(real)


@LIKELIHOODS.register(low=0.0)
def bernoulli_over_channels(generated: Float[Tensor, "b c h w"], real: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """`bernoulli` divided by the number of channels, as in the code that the augmentation paper names.

    For color images it has the effect of a weight of 3 on the divergence. For presets that reproduce that code.
    """
    return bernoulli(generated, real) / generated.shape[1]


@LIKELIHOODS.register(low=None)
def gaussian(generated: Float[Tensor, "b *of"], real: Float[Tensor, "b *of"], *, deviation: float = 1.0) -> Float[Tensor, ""]:
    """Independent normal noise on every pixel, without the constant term.

    `deviation` is its standard deviation, in the units of the decoder's images.
    """
    return (generated - real).square().sum() / (2 * deviation**2 * len(real))
