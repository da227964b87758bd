"""Distances and similarities of embeddings, exactly equal for equal rows: ties are broken by row, not by rounding errors."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

ROWS = 4096  # rows processed at a time: with 216 elements, 7 MB of float64


def squared_distances(some: Float[Tensor, "m d"], others: Float[Tensor, "t d"]) -> Float[Tensor, "m t"]:
    """|x - y|^2 of all pairs as |x|^2 - 2xy + |y|^2, in float64, then rounded to float32.

    A matrix product may sum equal rows in different orders; the rounding removes the difference.
    """
    some, others = some.double(), others.double()
    products = torch.addmm(others.square().sum(1), some, others.T, alpha=-2)
    return products.add_(some.square().sum(1, keepdim=True)).clamp_(min=0).float()


def unit(embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Rows scaled to length 1, so that the squared distance is twice the cosine distance. Rows of zeros stay zero."""
    return normalize(embeddings, dim=1)


def similarity(squared: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """(1 + cosine) / 2 from the squared distances of unit rows; never negative.

    A row of zeros has no cosine: its similarity to itself is 1, to others 3/4.
    """
    return (1 - squared / 4).clamp_(min=0)
