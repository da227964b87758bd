"""How likely an image is where a decoder made another: negative logarithms, summed over an image, the mean over the batch.

Sums and not means over the pixels: only so do they weigh against the divergence of the code as the evidence bound says
(Kingma & Welling 2014, arXiv:1312.6114, eq. 7; augmentation paper, eq. 5).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dsopt.registry import LIKELIHOODS


@LIKELIHOODS.register(low=0.0)
def bernoulli(made: Float[Tensor, "b c h w"], real: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Pixels in 0..1 as the probabilities of white (augmentation paper, section 2.4.2)."""
    return F.binary_cross_entropy(made.clamp(1e-7, 1 - 1e-7), real, reduction="sum") / len(real)


@LIKELIHOODS.register(low=0.0)
def bernoulli_over_channels(made: Float[Tensor, "b c h w"], real: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """`bernoulli` divided by the number of channels, as in the code that the augmentation paper names: for colour images like a
    weight of 3 on the divergence. For faithful presets."""
    return bernoulli(made, real) / made.shape[1]


@LIKELIHOODS.register(low=None)
def gaussian(made: Float[Tensor, "b *of"], real: Float[Tensor, "b *of"], *, deviation: float = 1.0) -> Float[Tensor, ""]:
    """Pixels with normal noise of one deviation, without the constant; it is in the units of the decoder's images."""
    return (made - real).square().sum() / (2 * deviation**2 * len(real))
