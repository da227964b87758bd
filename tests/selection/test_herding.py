"""Herding compared with its definition, and the mean of the subset."""

import pytest
import torch

from dsopt.selection.herding import herding


def plain(embeddings: torch.Tensor, budget: int) -> tuple[list[int], list[float]]:
    """At every step, the mean of those taken, for every row that could be next."""
    x = embeddings.double()
    chosen: list[int] = []
    scores = []
    for size in range(1, budget + 1):
        off = ((x[chosen].sum(0) + x) / size - x.mean(0)).norm(dim=1)
        off[chosen] = torch.inf
        best = int((off <= off.min() + 1e-7).nonzero()[0])  # the first of those equal up to rounding
        chosen.append(best)
        scores.append(float(off[best]))
    return chosen, scores


def tables() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    normal = torch.randn(80, 5, generator=generator)
    return {
        "normal": normal,
        "rectified": normal.relu(),
        "duplicates": normal[torch.randint(16, (80,), generator=generator)],
        "constant": torch.ones(80, 5),
        "far from the origin": normal + 50,
        "one": normal[:1],
    }


@pytest.mark.parametrize("kind", tables())
def test_equals_its_definition(kind: str) -> None:
    table = tables()[kind]
    expected, scores = plain(table, len(table))
    for budget in {1, min(9, len(table)), len(table)}:
        got = herding(table, torch.zeros(len(table)).long(), budget, torch.Generator())
        assert got.indices.tolist() == expected[:budget]
        torch.testing.assert_close(got.scores, torch.tensor(scores[:budget]), rtol=1e-4, atol=1e-5)


def test_of_equal_lengths_it_is_welling_s_greatest_product_with_the_weights() -> None:
    table = torch.nn.functional.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    chosen = herding(table, torch.zeros(200).long(), 60, torch.Generator()).indices.tolist()
    x = table.double()
    weights, expected = x.mean(0), []
    for _ in range(60):
        products = x @ weights
        products[expected] = -torch.inf
        expected.append(int(products.argmax()))
        weights = weights + x.mean(0) - x[expected[-1]]
    assert chosen == expected


def test_keeps_the_mean_far_better_than_chance_at_every_size() -> None:
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(1000, 16, generator=generator).relu()
    chosen = table[herding(table, torch.zeros(1000).long(), 200, torch.Generator()).indices]
    for size in (10, 50, 200):
        random = [(table[torch.randperm(1000, generator=generator)[:size]].mean(0) - table.mean(0)).norm() for _ in range(20)]
        assert (chosen[:size].mean(0) - table.mean(0)).norm() < 0.4 * min(random)
