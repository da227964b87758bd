"""The baselines of every comparison: random selection, and random selection with balanced classes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.balance import per_class
from dsopt.selection.contract import Selection, selector


@selector(embeddings=False, seeded=True)
def random(embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator) -> Selection:
    """Draw images uniformly at random."""
    indices = torch.randperm(len(labels), generator=generator)[:budget]
    return Selection(indices, torch.full((budget,), torch.nan), ["random"] * budget)


@selector(embeddings=False, labels=True, seeded=True)
def random_balanced(
    embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"], budget: int, generator: torch.Generator
) -> Selection:
    """Draw the same number of images from every class, at random; the remainder goes to the lowest labels."""
    chosen = per_class(random, embeddings, labels, budget, generator)
    return chosen._replace(reasons=["random in its class"] * budget)
