"""New embeddings between real ones."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dsopt.selection.kernels.neighbours import nearest


def interpolate(
    embeddings: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], wanted: Int64[Tensor, " m"], seed: int, *, neighbours: int = 5
) -> tuple[Float[Tensor, "m d"], Int64[Tensor, "m 2"]]:
    """Points on the line between a random embedding and one of its nearest neighbours of the same class (SMOTE).

    SMOTE is by Chawla et al. (2002, arXiv:1106.1813, section 4.2); the selection paper's discussion proposes it for its embedding.

    Args:
        wanted: the labels of the new points; each class must have at least two embeddings.
        neighbours: the number of nearest neighbours from which the other end is drawn.

    Returns:
        The points, and for each the indices of the two embeddings between which it lies.
    """
    points, ends = embeddings.new_empty(len(wanted), embeddings.shape[1]), torch.empty(len(wanted), 2, dtype=torch.int64)
    random = torch.Generator().manual_seed(seed)
    for label in wanted.unique().tolist():
        rows, mine = (wanted == label).nonzero().squeeze(1), (labels == label).nonzero().squeeze(1)
        _, others = nearest(embeddings[mine], min(neighbours, len(mine) - 1))
        first = torch.randint(len(mine), (len(rows),), generator=random)
        which = torch.randint(others.shape[1], (len(rows),), generator=random)
        ends[rows] = torch.stack([mine[first], mine[others[first, which]]], 1)
        share = torch.rand(len(rows), 1, generator=random)
        points[rows] = torch.lerp(embeddings[ends[rows, 0]], embeddings[ends[rows, 1]], share)
    return points, ends
