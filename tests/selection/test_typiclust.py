"""TypiClust against a plain version on the same clusters."""

import pytest
import torch

from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.typiclust import TINY, typiclust


def slow(table: torch.Tensor, budget: int, max_clusters: int, neighbours: int, seed: int) -> tuple[list[int], list[float]]:
    rows = table.double().tolist()
    _, assignment, _ = cluster(table, min(budget, max_clusters), torch.Generator().manual_seed(seed))
    typicality = []
    for i, one in enumerate(rows):
        distances = sorted(
            sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 for j, other in enumerate(rows) if j != i
        )
        near = distances[:neighbours]
        typicality.append(1 / (sum(near) / max(len(near), 1) + TINY))
    queues = []
    for c in assignment.unique().tolist():
        queues.append(sorted((i for i in range(len(rows)) if assignment[i] == c), key=lambda i: -typicality[i]))
    queues.sort(key=len, reverse=True)
    chosen = [queue[turn] for turn in range(len(rows)) for queue in queues if turn < len(queue)][:budget]
    return chosen, [typicality[i] for i in chosen]


@pytest.mark.parametrize(
    ("rows", "budget", "max_clusters", "neighbours"),
    [(70, 9, 500, 20), (70, 40, 4, 5), (70, 70, 500, 20), (12, 5, 3, 20), (5, 1, 500, 1), (1, 1, 500, 20)],
)
def test_equals_the_slow_version(rows: int, budget: int, max_clusters: int, neighbours: int) -> None:
    table = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows))
    generator = torch.Generator().manual_seed(6)
    got = typiclust(table, torch.zeros(rows).long(), budget, generator, max_clusters=max_clusters, neighbours=neighbours)
    indices, scores = slow(table, budget, max_clusters, neighbours, 6)
    assert got.indices.tolist() == indices
    assert got.scores.tolist() == pytest.approx(scores, rel=1e-4)


def test_duplicates_are_typical_and_go_by_row() -> None:
    table = torch.cat([torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) * 9, torch.ones(6, 2) * 30])
    chosen = typiclust(table, torch.zeros(26).long(), 3, torch.Generator(), max_clusters=1, neighbours=5)
    assert chosen.indices.tolist() == [20, 21, 22]
    assert chosen.scores.isfinite().all()
