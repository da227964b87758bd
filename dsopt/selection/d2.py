"""Difficult images that are not neighbours: message passing of difficulty on a neighbour graph."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.by_score import number_cut
from dsopt.selection.contract import Passes, Selection, selector
from dsopt.selection.streams import costs, graph
from dsopt.selection.streams.costs import Cost, Size
from dsopt.selection.streams.rows import HeldRows, Rows


def _passes(neighbours: int, gamma: float, cut: float) -> Passes:
    return partial(_choose, neighbours=neighbours, gamma=gamma, cut=cut)


def _cost(at: Size, neighbours: int, gamma: float, cut: float) -> Cost:
    return costs.neighbours(at, neighbours)


@selector(scores=("el2n",), passes=_passes, cost=_cost)
def d2(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    scores: Float[Tensor, "n 1"],
    *,
    neighbours: int = 5,
    gamma: float = 0.1,
    cut: float = 0.4,
) -> Selection:
    """Take difficult images with difficult neighbours, then devalue the neighbours (D2 pruning, arXiv:2310.07931, Section 3).

    Forward pass: every image's value is its difficulty plus that of its neighbours, weighted by exp(-d^2). Reverse pass: the image
    of highest value is taken, and exp(-gamma d^2) times its value is subtracted from the values of its neighbours; this is
    repeated. The fraction `cut` of the hardest images is left out first (the paper's beta). The score is the value when taken.

    The difficulty is EL2N. The paper uses forgetting events, but a short proxy run has too few of these to rank images. Squared
    distances are divided by their mean over the graph, so that `gamma` does not depend on the scale of the embedding.

    In passes over parts the graph is that of `streams.graph.neighbours`, which may lack some neighbours; the rest is the same.
    """
    return _choose(HeldRows(embeddings), budget, generator, scores, neighbours=neighbours, gamma=gamma, cut=cut)


def _choose(
    rows: Rows, budget: int, generator: torch.Generator, scores: Tensor, *, neighbours: int, gamma: float, cut: float
) -> Selection:
    hardest_first = scores[:, 0].argsort(descending=True, stable=True)
    there = torch.ones(len(scores), dtype=torch.bool).index_fill(0, hardest_first[: number_cut(cut, len(scores), budget)], False)
    left = there.nonzero().squeeze(1)
    count = min(neighbours, len(left) - 1)
    squared, near = torch.empty(len(left), count), torch.empty(len(left), count, dtype=torch.int64)
    for places, distances, others in graph.neighbours(rows.within(there), count):
        squared[places], near[places] = distances, others
    squared = squared / squared.mean().clamp_min(torch.finfo().tiny)
    difficulty = scores[left, 0]
    value = (difficulty + (difficulty[near] * (-squared).exp()).sum(1)).numpy()
    devalued, near = (-gamma * squared).exp().numpy(), near.numpy()
    chosen, worth = np.empty(budget, dtype=np.int64), np.empty(budget, dtype=np.float32)
    for i in range(budget):  # NumPy, not torch: the steps are too short for torch's threads
        best = value.argmax()
        chosen[i], worth[i] = best, value[best]
        value[near[best]] -= devalued[best] * value[best]
        value[best] = -np.inf
    return Selection(left[torch.from_numpy(chosen)], torch.from_numpy(worth), ["difficult"] * budget)
