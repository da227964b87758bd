"""Greedy k-center against the plain algorithm, row by row."""

import itertools

import pytest
import torch

from dsopt.selection.kcenter import kcenter
from dsopt.selection.streams import lazy


def plain(embeddings: torch.Tensor, budget: int, metric: str) -> tuple[list[int], list[float]]:
    """Algorithm 1 in float64: all distances, and at every step the first of the farthest."""
    x = embeddings.double()
    x = torch.nn.functional.normalize(x, dim=1) if metric == "cosine" else x
    all_pairs = (x[:, None] - x).square().sum(2)
    all_pairs = all_pairs / 2 if metric == "cosine" else all_pairs.sqrt()
    from_mean = (x - x.mean(0)).square().sum(1)
    chosen, scores = [int(from_mean.argmin())], [torch.nan]
    while len(chosen) < budget:
        nearest = all_pairs[:, chosen].amin(1)
        nearest[chosen] = -1
        farthest = int((nearest >= nearest.max() - 1e-7).nonzero()[0])  # the first of those equal up to rounding
        chosen.append(farthest)
        scores.append(float(nearest[farthest]))
    return chosen, scores


def tables() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(120, 6, generator=generator)
    centres = torch.randn(6, 6, generator=generator)[torch.randint(6, (120,), generator=generator)]
    return {
        "normal": normal,
        "clusters": (4 * centres + normal).relu(),
        "ties": normal.round(),
        "duplicates": normal[torch.randint(20, (120,), generator=generator)],
        "constant": torch.ones(120, 6),
        "axes and zeros": torch.eye(6)[torch.arange(120) % 6] * (normal[:, :1] * 2).round().abs(),
        "far from the origin": normal + 100,
        "one": normal[:1],
        "two alike": normal[[3, 3]],
    }


@pytest.mark.parametrize("pool", [3, 512])
@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize("kind", tables())
def test_equals_the_plain_algorithm(kind: str, metric: str, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if metric == "cosine" and kind in ("ties", "far from the origin"):
        pytest.skip("scaled to length 1, equal distances differ by rounding")
    monkeypatch.setattr(lazy, "POOL", pool)
    monkeypatch.setattr(lazy, "ROWS", 50)
    table = tables()[kind]
    expected, scores = plain(table, len(table), metric)
    for budget in {1, min(17, len(table)), len(table)}:
        got = kcenter(table, torch.zeros(len(table)).long(), budget, torch.Generator(), metric=metric)
        assert got.indices.tolist() == expected[:budget]
        torch.testing.assert_close(got.scores, torch.tensor(scores[:budget]), equal_nan=True, rtol=1e-4, atol=2e-6)


def test_no_image_is_farther_than_the_next_score() -> None:
    """So the radius is at most twice the optimal one: two of k + 1 rows this far apart share a center of the optimal cover."""
    table = torch.randn(2000, 12, generator=torch.Generator().manual_seed(2)).relu()
    chosen = kcenter(table, torch.zeros(2000).long(), 301, torch.Generator())
    assert (chosen.scores[2:] <= chosen.scores[1:-1]).all()
    for size in (1, 10, 300):
        widest = torch.cdist(table, table[chosen.indices[:size]]).amin(1).max()
        torch.testing.assert_close(widest, chosen.scores[size], rtol=1e-4, atol=1e-5)


def test_the_radius_is_at_most_twice_the_optimal_one() -> None:
    """By all sets of k of up to 15 rows (Gonzalez 1985)."""
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        rows, budget = 10 + seed, 2 + seed % 4
        table = torch.randn(rows, 2, generator=generator) * torch.rand(rows, 1, generator=generator) * 5
        distances = torch.cdist(table, table)
        sets = torch.tensor(list(itertools.combinations(range(rows), budget)))
        optimum = distances[sets].amin(1).amax(1).min()
        chosen = kcenter(table, torch.zeros(rows).long(), budget, torch.Generator()).indices
        assert distances[chosen].amin(0).max() <= 2 * optimum * (1 + 1e-6)
