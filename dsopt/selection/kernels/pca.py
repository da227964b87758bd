"""Principal components of the embeddings, as a first step before any selection method."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection


def components(embeddings: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n c"]:
    """The first `count` principal components (all, if there are fewer), not whitened, by decreasing variance.

    They come from the eigenvectors of the covariance, since n is large and d small. Signs are fixed: the loading that is largest in
    absolute value is positive.
    """
    centered = embeddings.double() - embeddings.double().mean(0)
    _, vectors = torch.linalg.eigh(centered.T @ centered)
    vectors = vectors.flip(1)[:, :count]
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return (centered @ (vectors * signs)).float()


def principal(
    selector: Callable[..., Selection],
    count: int,
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *scores: Float[Tensor, "n s"],
) -> Selection:
    """Apply a selector to the principal components, as the selection paper's discussion proposes."""
    return selector(components(embeddings, count), labels, budget, generator, *scores)._replace(centroids=None)  # of other numbers
