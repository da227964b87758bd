"""What a choice takes, told before: every method says it, and passes need no memory for the embeddings."""

from collections.abc import Callable

import pytest
import torch

from dsopt.registry import SELECTORS
from dsopt.selection.contract import passes_of
from dsopt.selection.streams import costs
from dsopt.selection.streams.costs import Cost, Size, Speed, way

LOOKING = [name for name in SELECTORS.names() if SELECTORS.traits(name).embeddings]
MILLION = 1_000_000


@pytest.mark.parametrize("name", SELECTORS.names())
@pytest.mark.parametrize("held", [True, False])
def test_costs_grow_with_the_rows_and_a_method_that_looks_at_embeddings_says_them(name: str, held: bool) -> None:
    traits = SELECTORS.traits(name)
    assert traits.cost or not traits.embeddings
    small, large = (costs.cost_of(name, {}, Size(rows, 216, 1000, held)) for rows in (20_000, 100_000))
    assert large.products + large.touched > small.products + small.touched
    assert large.memory >= small.memory and min(small) >= 0


@pytest.mark.parametrize("name", LOOKING)
def test_ways_and_their_memory(name: str) -> None:
    def found(rows: int, **more: int) -> costs.Way:
        return way(name, {}, Size(rows, 384, 1000), shard_rows=MILLION, **more)

    embeddings = 10 * MILLION * 384 * 4
    large = found(10 * MILLION)
    if passes_of(name, {}) or name == "top_activation":
        assert large.how == "in passes over the parts" and large.memory < 0.5 * embeddings
    else:
        assert large.how == "in two rounds" and large.memory > 3 * MILLION * 384 * 4
    if name != "top_activation":
        assert found(MILLION).how == "in memory" and found(10 * MILLION, rounds=2).how == "in two rounds"


def test_zcore_draws_a_million_points_for_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsopt.selection.zcore.DRAWS", 1_000_000)
    all_together, by_class = (costs.cost_of("zcore", {}, Size(50_000, 1280, 4320, classes=classes)) for classes in (1, 10))
    assert by_class.touched == pytest.approx(10 * all_together.touched)


def test_seconds_are_those_of_the_slowest_parts_and_divide_among_workers_in_passes() -> None:
    speed = Speed(products=1e9, touched=1e8, read=4e6)
    cost = Cost(products=2e9, touched=3e8, passes=2)
    assert speed.seconds(cost, Size(1000, 1000, 10), workers=4) == pytest.approx(2 + 3 + 2)
    assert speed.seconds(cost, Size(1000, 1000, 10, held=False), workers=4) == pytest.approx(7 / 4)


def test_the_calibration_measures_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def took(work: Callable[[], torch.Tensor]) -> float:
        asked.append(tuple(work().shape))
        return 0.5

    monkeypatch.setattr(costs, "_took", took)
    assert costs.measured() == Speed(2 * 1024 * 384 * 1024, 2 * 2**20) and asked == [(1024, 1024), ()]
