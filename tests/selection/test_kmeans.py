"""The nearest image to every centroid, compared with a plain version on the same clusters."""

import pytest
import torch

from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.kmeans import kmeans


def choose(table: torch.Tensor, budget: int, seed: int = 0) -> list[int]:
    return kmeans(table, torch.zeros(len(table)).long(), budget, torch.Generator().manual_seed(seed)).indices.tolist()


@pytest.mark.parametrize("budget", [1, 2, 15, 60])
def test_takes_the_nearest_of_each_cluster_the_largest_first(budget: int) -> None:
    table = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    _, assignment, squared = cluster(table, budget, torch.Generator().manual_seed(3))
    members = [(assignment == c).nonzero().squeeze(1).tolist() for c in range(budget)]
    nearest = [min(rows, key=lambda row: (float(squared[row]), row)) for rows in members]
    by_size = sorted(range(budget), key=lambda c: (-len(members[c]), c))
    chosen = kmeans(table, torch.zeros(90).long(), budget, torch.Generator().manual_seed(3))
    assert chosen.indices.tolist() == [nearest[c] for c in by_size]
    assert list(chosen.reasons) == [f"cluster {c}" for c in by_size]
    assert torch.equal(chosen.scores, -squared[chosen.indices])


def test_every_group_that_is_there_is_represented() -> None:
    """Groups far apart, of unequal size: the smallest has 1 of 111 rows, which random selection would mostly miss."""
    groups = torch.tensor([0] * 80 + [1] * 25 + [2] * 5 + [3])
    corners = 50 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    table = corners[groups] + torch.randn(111, 2, generator=torch.Generator().manual_seed(0))
    assert groups[choose(table, 4)].tolist() == [0, 1, 2, 3]


def test_equal_rows_fill_up_in_order() -> None:
    assert choose(torch.ones(7, 3), 4) == [0, 1, 2, 3]
    assert choose(torch.zeros(3, 2), 3) == [0, 1, 2]
    two = torch.tensor([[5.0], [1.0], [5.0], [1.0], [5.0]])
    assert choose(two, 4) == [0, 1, 2, 3]  # 5 is the larger group, then 1, then the second of each


def test_all_rows_are_their_own_clusters() -> None:
    table = torch.randn(30, 3, generator=torch.Generator().manual_seed(2))
    assert sorted(choose(table, 30)) == list(range(30))
