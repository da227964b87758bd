"""SemDeDup against a plain version on the same clusters."""

import pytest
import torch
from torch.nn.functional import normalize

from dsopt.selection import semantic_dedup as module
from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.semantic_dedup import semantic_dedup


def slow(table: torch.Tensor, budget: int, keep: str, clusters: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    directions = normalize(table)
    _, assignment, squared = cluster(directions, clusters, generator)
    chance = torch.rand(len(table), generator=generator).tolist()
    key = {"hard": lambda i: -float(squared[i]), "easy": lambda i: float(squared[i]), "random": lambda i: chance[i]}[keep]
    alike = {}
    for c in range(clusters):
        line = sorted((i for i in range(len(table)) if assignment[i] == c), key=lambda i: (key(i), i))
        for place, i in enumerate(line):
            alike[i] = max((float(directions[i] @ directions[j]) for j in line[:place]), default=-1.0)
    return sorted(alike, key=lambda i: (round(alike[i], 6), i))[:budget]


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
@pytest.mark.parametrize(("rows", "budget", "clusters"), [(60, 20, 5), (60, 60, 1), (60, 1, 60), (7, 3, 2), (1, 1, 1)])
def test_equals_the_slow_version(keep: str, rows: int, budget: int, clusters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 100)
    table = torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows))
    generator = torch.Generator().manual_seed(2)
    chosen = semantic_dedup(table, torch.zeros(rows).long(), budget, generator, keep=keep, clusters=clusters)  # type: ignore[arg-type]
    assert chosen.indices.tolist() == slow(table, budget, keep, clusters, 2)


@pytest.mark.parametrize("keep", ["hard", "easy", "random"])
def test_one_of_every_set_of_duplicates_stays(keep: str) -> None:
    """Duplicates of any length are found, since the cosine counts. Rows of zeros are no duplicates, even of each other."""
    distinct = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    table = torch.cat([distinct, 3 * distinct, distinct / 2])
    chosen = semantic_dedup(table, torch.zeros(90).long(), 30, torch.Generator().manual_seed(0), keep=keep)  # type: ignore[arg-type]
    assert sorted(i % 30 for i in chosen.indices.tolist()) == list(range(30))


def test_keeps_the_odd_or_the_typical() -> None:
    """One cluster: with `hard` the row farthest from its centroid comes first, with `easy` the nearest."""
    table = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([4.0, 0.0, 0.0])
    directions = normalize(table)
    distances = (directions - directions.mean(0)).square().sum(1)
    for keep, expected in (("hard", distances.argmax()), ("easy", distances.argmin())):
        chosen = semantic_dedup(table, torch.zeros(40).long(), 1, torch.Generator(), keep=keep, clusters=1)  # type: ignore[arg-type]
        assert chosen.indices.tolist() == [int(expected)] and chosen.scores.tolist() == [2.0]


def test_zero_vectors_are_allowed() -> None:
    chosen = semantic_dedup(torch.zeros(8, 3), torch.zeros(8).long(), 3, torch.Generator())
    assert chosen.indices.tolist() == [0, 1, 2]
