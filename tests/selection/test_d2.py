"""D2 pruning against a plain version."""

import math

import pytest
import torch

from dsopt.selection.d2 import d2


def slow(table: torch.Tensor, scores: list[float], budget: int, neighbours: int, gamma: float, cut: float) -> list[int]:
    hardest = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    left = sorted(hardest[min(round(cut * len(scores)), len(scores) - budget) :])
    squared = torch.cdist(table.double(), table.double()).square()
    near = {i: sorted((j for j in left if j != i), key=lambda j: (float(squared[i, j]), j))[:neighbours] for i in left}
    edges = [float(squared[i, j]) for i in left for j in near[i]]
    mean = sum(edges) / len(edges) if edges else 1.0
    value = {i: scores[i] + sum(math.exp(-float(squared[i, j]) / mean) * scores[j] for j in near[i]) for i in left}
    chosen: list[int] = []
    for _ in range(budget):
        best = max((i for i in left if i not in chosen), key=lambda i: (value[i], -i))
        for j in near[best]:
            value[j] -= math.exp(-gamma * float(squared[best, j]) / mean) * value[best]
        chosen.append(best)
    return chosen


@pytest.mark.parametrize(
    ("rows", "budget", "neighbours", "gamma", "cut"),
    [
        (60, 20, 5, 0.1, 0.4),
        (60, 20, 5, 1.0, 0.0),
        (60, 60, 5, 0.1, 0.4),
        (60, 50, 3, 0.1, 0.4),
        (30, 1, 0, 0.1, 0.2),
        (1, 1, 5, 0.1, 0.4),
    ],
)
def test_equals_the_slow_version(rows: int, budget: int, neighbours: int, gamma: float, cut: float) -> None:
    generator = torch.Generator().manual_seed(rows + budget)
    table, scores = torch.randn(rows, 3, generator=generator), torch.rand(rows, 1, generator=generator)
    labels = torch.zeros(rows).long()
    got = d2(table, labels, budget, generator, scores, neighbours=neighbours, gamma=gamma, cut=cut)
    assert got.indices.tolist() == slow(table, scores[:, 0].tolist(), budget, neighbours, gamma, cut)
    scaled = d2(1000 * table, labels, budget, generator, scores, neighbours=neighbours, gamma=gamma, cut=cut)
    assert torch.equal(scaled.indices, got.indices)


def test_spreads_over_the_data_instead_of_staying_where_it_is_hard() -> None:
    """Of six hard images close together and 20 others apart, only one of the six is taken; by the score alone, all would be."""
    table = torch.cat([0.01 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), 9 * torch.arange(1, 41.0).view(20, 2)])
    scores = torch.cat([torch.full((6, 1), 1.0), torch.full((20, 1), 0.5)])
    chosen = d2(table, torch.zeros(26).long(), 6, torch.Generator(), scores, cut=0.0)
    assert (chosen.indices < 6).sum() == 1


def test_duplicates_and_equal_scores_go_by_row() -> None:
    chosen = d2(torch.zeros(8, 2), torch.zeros(8).long(), 2, torch.Generator(), torch.ones(8, 1), neighbours=2, cut=0.0)
    assert chosen.indices[0] == 0 and chosen.scores[0] == 3
