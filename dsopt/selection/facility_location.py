"""Facility location: every image has a similar one in the subset; a submodular objective."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.contract import Selection, selector
from dsopt.selection.distances import similarity, squared_distances, unit
from dsopt.selection.neighbours import nearest

DENSE_ROWS = 10_000  # up to this number of rows the whole similarity matrix is held: 400 MB
BLOCK = 512  # rows whose first gains are computed at a time
AT_ONCE = 32  # rows whose gains are updated at a time, those with the largest bounds: batching is faster, and most are needed


@selector()
def facility_location(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    neighbours: int = 100,
) -> Selection:
    """Take the image that represents the others best, given those taken (facility location; Lin & Bilmes 2009; Mirzasoleiman 2013).

    The objective is the sum over all images i of s(i, j), with j the most similar image taken and s = (1 + cosine) / 2. With more
    than `DENSE_ROWS` rows, an image can only be represented by itself and its `neighbours` nearest neighbours. The result is
    exactly that of the plain greedy algorithm. The score is the gain. Use it with `per_class`, as DeepCore (arXiv:2204.08499) does.
    """
    x, rows = unit(embeddings), len(embeddings)
    similarities = _Dense.of(x) if rows <= DENSE_ROWS else _Graph.of(x, min(neighbours, rows - 1))
    # Lazy greedy (Minoux 1978): gains only fall, so an old gain is an upper bound. This holds for the computed gains, too, since
    # rounded addition is monotone.
    bounds = torch.cat([similarities.gains(block) for block in torch.arange(rows).split(BLOCK)])
    seen = torch.zeros(rows, dtype=torch.int64)  # the number of rows taken when the bound was computed
    chosen, scores = [], []
    while len(chosen) < budget:
        best = int(bounds.argmax())
        if seen[best] == len(chosen):
            chosen.append(best)
            scores.append(float(bounds[best]))
            similarities.take(best)
            bounds[best] = -torch.inf
        else:
            stale = torch.cat([bounds.topk(min(AT_ONCE, rows)).indices, torch.tensor([best])])
            bounds[stale] = torch.minimum(bounds[stale], similarities.gains(stale))  # those taken stay at -inf
            seen[stale] = len(chosen)
    return Selection(torch.tensor(chosen), torch.tensor(scores), ["represents others"] * budget)


class _Dense(NamedTuple):
    """The similarity matrix, and each row's similarity to the most similar row taken so far."""

    similar: Float[Tensor, "n n"]
    represented: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"]) -> "_Dense":
        return cls(torch.cat([similarity(squared_distances(block, x)) for block in x.split(BLOCK)]), torch.zeros(len(x)))

    def gains(self, rows: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        return (self.similar[rows] - self.represented).clamp_(min=0).sum(1)

    def take(self, row: int) -> None:
        torch.maximum(self.represented, self.similar[row], out=self.represented)


class _Graph(NamedTuple):
    """A sparse matrix: for every row j, the rows i that have j among their nearest neighbours, and s(i, j), as in CSR format."""

    starts: Int[Tensor, " n+1"]
    others: Int[Tensor, " e"]
    similar: Float[Tensor, " e"]
    represented: Float[Tensor, " n"]

    @classmethod
    def of(cls, x: Float[Tensor, "n d"], k: int) -> "_Graph":
        squared, indices = nearest(x, k)
        itself = torch.arange(len(x))[:, None]
        by_neighbour, order = torch.cat([itself, indices], 1).flatten().sort(stable=True)
        similar = torch.cat([torch.ones(len(x), 1), similarity(squared)], 1).flatten()[order]
        starts = torch.searchsorted(by_neighbour, torch.arange(len(x) + 1))
        return cls(starts, order // (k + 1), similar, torch.zeros(len(x)))

    def gains(self, rows: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        edges = torch.arange(int(lengths.sum())) + (first - lengths.cumsum(0) + lengths).repeat_interleave(lengths)
        gains = (self.similar[edges] - self.represented[self.others[edges]]).clamp_(min=0)
        return torch.segment_reduce(gains, "sum", lengths=lengths)

    def take(self, row: int) -> None:
        edges = slice(int(self.starts[row]), int(self.starts[row + 1]))
        others = self.others[edges]
        self.represented[others] = torch.maximum(self.represented[others], self.similar[edges])
