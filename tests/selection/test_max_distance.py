"""The greedy solution of Equation 3 compared with the plain algorithm; its sum, with the optimum and with random selection."""

import itertools

import pytest
import torch

from dsopt.selection.max_distance import max_distance
from dsopt.selection.streams import lazy


def all_distances(embeddings: torch.Tensor, metric: str) -> torch.Tensor:
    x = embeddings.double()
    x = torch.nn.functional.normalize(x, dim=1) if metric == "cosine" else x
    squared = (x[:, None] - x).square().sum(2)
    return squared / 2 if metric == "cosine" else squared.sqrt()


def plain(embeddings: torch.Tensor, budget: int, metric: str) -> tuple[list[int], list[float]]:
    x = torch.nn.functional.normalize(embeddings, dim=1) if metric == "cosine" else embeddings
    from_mean = (x.double() - x.double().mean(0)).square().sum(1)
    distances = all_distances(embeddings, metric)
    chosen, scores = [int(from_mean.argmax())], [0.0]
    while len(chosen) < budget:
        sums = distances[:, chosen].sum(1)
        sums[chosen] = -1
        best = int((sums >= sums.max() - 1e-6).nonzero()[0])  # the first of those equal up to rounding
        chosen.append(best)
        scores.append(float(sums[best]))
    return chosen, scores


def tables() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    normal = torch.randn(90, 6, generator=generator)
    return {
        "normal": normal,
        "rectified": normal.relu(),
        "duplicates": normal[torch.randint(20, (90,), generator=generator)],
        "constant": torch.ones(90, 6),
        "one-hot": torch.eye(6)[torch.randint(6, (90,), generator=generator)],
        "one": normal[:1],
    }


@pytest.mark.parametrize("pool", [3, 512])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("kind", tables())
def test_equals_the_plain_algorithm(kind: str, metric: str, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "POOL", pool)
    monkeypatch.setattr(lazy, "ROWS", 32)
    table = tables()[kind]
    expected, scores = plain(table, len(table), metric)
    for budget in {1, min(11, len(table)), len(table)}:
        got = max_distance(table, torch.zeros(len(table)).long(), budget, torch.Generator(), metric=metric)
        assert got.indices.tolist() == expected[:budget]
        torch.testing.assert_close(got.scores, torch.tensor(scores[:budget]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_sum_is_near_the_best_and_above_chance(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(14, 3, generator=generator)
    distances = all_distances(table, "l2")

    def total(rows: list[int]) -> float:
        return float(distances[rows][:, rows].sum())

    greedy = total(max_distance(table, torch.zeros(14).long(), 5, torch.Generator()).indices.tolist())
    every = [total(list(rows)) for rows in itertools.combinations(range(14), 5)]
    assert 0.9 * max(every) <= greedy <= max(every) + 1e-9
    assert greedy > 1.2 * sum(every) / len(every)
