"""Distances and similarities of embeddings, exactly equal for equal rows: ties are broken by row, not by rounding errors."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

ROWS = 4096  # rows processed at a time: with 216 elements, 7 MB of float64
PRODUCTS = 1 << 22  # of rows and centroids held at a time: 16 MB


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


def nearest_centroids(x: Float[Tensor, "b d"], centroids: Float[Tensor, "k d"]) -> Int[Tensor, " b"]:
    """The nearest centroid of every row, the same in whatever block the row comes; ties go to the lowest.

    Matrix products in float32 decide where their rounding cannot; the few other rows are compared in float64. The nearest centroid
    has the largest xc - |c|^2 / 2, whose error is at most (d + 4) u |c| (|x| + |c| / 2) with u = 2^-24.
    """
    lengths = torch.linalg.vector_norm(centroids, dim=1)
    half, longest = lengths.square() / 2, lengths.max()
    roundoff = (x.shape[1] + 4) * torch.finfo(x.dtype).eps / 2
    found = []
    for some in x.split(max(PRODUCTS // len(centroids), 1)):
        closeness = torch.addmm(half, some, centroids.T, beta=-1)
        best, which = closeness.max(1)
        second = closeness.scatter_(1, which[:, None], -torch.inf).amax(1)
        slack = 2 * roundoff * longest * (torch.linalg.vector_norm(some, dim=1) + longest / 2)
        unsure = (second >= best - slack).nonzero().squeeze(1)
        if len(unsure):
            which[unsure] = squared_distances(some[unsure], centroids).argmin(1)
        found.append(which)
    return torch.cat(found)
