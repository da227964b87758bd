"""A precursor for any selection method: look at few principal components instead of all elements."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection


def components(embeddings: Float[Tensor, "n d"], count: int) -> Float[Tensor, "n c"]:
    """The first `count` principal components (all, if there are fewer), each with its own variance, largest first.

    By the eigenvectors of the covariance, as n is large and d small; signs are such that the largest loading is positive.
    """
    centred = embeddings.double() - embeddings.double().mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    vectors = vectors.flip(1)[:, :count]
    signs = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return (centred @ (vectors * signs)).float()


def principal(
    selector: Callable[..., Selection],
    count: int,
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *scores: Float[Tensor, "n s"],
) -> Selection:
    """Apply a selector to the principal components (the selection paper's discussion proposes it)."""
    return selector(components(embeddings, count), labels, budget, generator, *scores)
