"""Distances and similarities of embeddings, alike for equal rows: ties are broken by row, not by rounding."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

ROWS = 4096  # looked at together: with 216 elements, 7 MB of float64


def squared_distances(some: Float[Tensor, "m d"], others: Float[Tensor, "t d"]) -> Float[Tensor, "m t"]:
    """|x - y|^2 of all pairs as |x|^2 - 2xy + |y|^2, in float64, then rounded to float32.

    A matrix product does not sum in the same order everywhere; what that changes is lost in the rounding.
    """
    some, others = some.double(), others.double()
    products = torch.addmm(others.square().sum(1), some, others.T, alpha=-2)
    return products.add_(some.square().sum(1, keepdim=True)).clamp_(min=0).float()


def from_mean(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The squared distance of every row from the mean of all, in float64."""
    blocks = embeddings.split(ROWS)
    mean = torch.stack([block.double().sum(0) for block in blocks]).sum(0) / len(embeddings)
    return torch.cat([(block - mean).square_().sum(1) for block in blocks])


def unit(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows scaled to length 1, so that the squared distance is twice the cosine distance. Rows of zeros stay."""
    return normalize(embeddings, dim=1)


def similarity(squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Squared distances of unit rows -> (1 + cosine) / 2, which is never negative.

    A row of zeros, for which there is no cosine, is wholly similar to itself and 3/4 to others.
    """
    return (1 - squared / 4).clamp_(min=0)
