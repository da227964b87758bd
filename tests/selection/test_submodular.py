"""Facility location and graph cut compared with plain greedy algorithms, and with apricot if it is installed."""

from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits

from dsopt.registry import SELECTORS
from dsopt.selection import facility_location as facility
from dsopt.selection.facility_location import facility_location
from dsopt.selection.graph_cut import graph_cut
from dsopt.selection.streams import lazy

Gain = Callable[[torch.Tensor, list[int]], torch.Tensor]


def similarities(embeddings: torch.Tensor) -> torch.Tensor:
    x = torch.nn.functional.normalize(embeddings.double(), dim=1)
    return 1 - (x[:, None] - x).square().sum(2) / 4


def adds(similar: torch.Tensor, chosen: list[int]) -> torch.Tensor:
    """The gain of every row for facility location's objective."""
    represented = similar[:, chosen].amax(1) if chosen else torch.zeros(len(similar))
    return torch.maximum(similar, represented[:, None]).sum(0) - represented.sum()


def cut(trade_off: float) -> Gain:
    return lambda similar, chosen: trade_off * similar.sum(0) - 2 * similar[:, chosen].sum(1)


def plain(similar: torch.Tensor, gain: Gain, budget: int) -> tuple[list[int], list[float]]:
    chosen: list[int] = []
    scores = []
    while len(chosen) < budget:
        gains = gain(similar, chosen)
        gains[chosen] = -torch.inf
        best = int((gains >= gains.max() - 1e-5).nonzero()[0])  # the first of those equal up to rounding
        chosen.append(best)
        scores.append(float(gains[best]))
    return chosen, scores


def tables() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    normal = torch.randn(80, 5, generator=generator)
    return {
        "normal": normal,
        "zeros among them": normal.abs() * (torch.arange(80) % 9 > 0)[:, None],
        "duplicates": normal[torch.randint(16, (80,), generator=generator)],
        "constant": torch.ones(80, 5),
        "one-hot": torch.eye(5)[torch.randint(5, (80,), generator=generator)],
        "one": normal[:1],
    }


def check(name: str, options: dict, table: torch.Tensor, expected: tuple[list[int], list[float]]) -> None:
    for budget in {1, min(23, len(table)), len(table)}:
        got = SELECTORS.build(name, options)(table, torch.zeros(len(table)).long(), budget, torch.Generator())
        assert got.indices.tolist() == expected[0][:budget]
        torch.testing.assert_close(got.scores, torch.tensor(expected[1][:budget]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("at_once", [1, 32])
@pytest.mark.parametrize("kind", tables())
def test_facility_location_equals_plain_greedy(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facility, "AT_ONCE", at_once)
    monkeypatch.setattr(facility, "BLOCK", 30)
    table = tables()[kind]
    check("facility_location", {}, table, plain(similarities(table), adds, len(table)))


@pytest.mark.parametrize("neighbours", [3, 100])
@pytest.mark.parametrize("kind", ["normal", "duplicates", "one"])
def test_facility_location_on_a_graph_equals_plain_greedy_on_it(
    kind: str, neighbours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facility, "DENSE_ROWS", 0)
    table = tables()[kind]
    similar = similarities(table)
    for i in range(len(table)):  # each row is represented by itself and its nearest, the lowest of equals
        ranking = sorted((j for j in range(len(table)) if j != i), key=lambda j, i=i: (-round(float(similar[i, j]), 7), j))
        similar[i, ranking[neighbours:]] = 0
    check("facility_location", {"neighbours": neighbours}, table, plain(similar, adds, len(table)))


@pytest.mark.parametrize("trade_off", [1.0, 2.5])
@pytest.mark.parametrize("pool", [3, 512])
@pytest.mark.parametrize("kind", tables())
def test_graph_cut_equals_plain_greedy(kind: str, pool: int, trade_off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "POOL", pool)
    monkeypatch.setattr(lazy, "ROWS", 32)
    table = tables()[kind]
    check("graph_cut", {"trade_off": trade_off}, table, plain(similarities(table), cut(trade_off), len(table)))


def test_graph_cut_is_monotone_from_two_on() -> None:
    table = tables()["zeros among them"]
    assert (graph_cut(table, torch.zeros(80).long(), 80, torch.Generator(), trade_off=2.0).scores > -1e-4).all()
    assert graph_cut(table, torch.zeros(80).long(), 80, torch.Generator(), trade_off=1.0).scores.min() < -1


def digits_maximised(similar: torch.Tensor) -> tuple[list[int], list[float]]:
    rows, gains = facility._maximise(facility._Dense(similar.float(), torch.zeros(len(similar))), 100)
    return rows.tolist(), gains.tolist()


@pytest.mark.slow
def test_known_answers_for_the_digits() -> None:
    """What apricot's tests have for scikit-learn's 1,797 digits (Schreiber et al. 2020, arXiv:1906.03543)."""
    x = torch.from_numpy(load_digits().data)
    squared = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square().round()
    rows, gains = digits_maximised(squared.max() - squared)
    assert rows[:5] == [945, 392, 1507, 793, 1417] and gains[:3] == [7448636, 384346, 250615]
    assert sum(gains) == 9897993
    unit = torch.nn.functional.normalize(x)
    assert sum(digits_maximised((unit @ unit.T).square())[1]) == pytest.approx(1616.294, abs=2e-3)
    assert sum(digits_maximised(torch.corrcoef(x).square())[1]) == pytest.approx(1502.714, abs=2e-3)


@pytest.mark.long
@pytest.mark.slow
def test_the_same_choice_as_apricot() -> None:
    apricot = pytest.importorskip("apricot")
    table = torch.randn(300, 10, generator=torch.Generator().manual_seed(5)).relu()
    labels, similar = torch.zeros(300).long(), similarities(table).numpy()
    theirs = apricot.FacilityLocationSelection(40, metric="precomputed", optimizer="lazy").fit(similar)
    ours = facility_location(table, labels, 40, torch.Generator())
    assert ours.indices.tolist() == theirs.ranking.tolist()
    theirs = apricot.GraphCutSelection(40, metric="precomputed", optimizer="naive").fit(similar)
    ours = graph_cut(table, labels, 40, torch.Generator())
    assert ours.indices.tolist() == theirs.ranking.tolist()
