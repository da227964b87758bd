"""Rows find their parts in any order, whatever memory is allowed for those that wait."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsopt.pipeline.scatter import Scatter


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 3), st.integers(0, 400), st.integers(0, 1000))
def test_every_row_lands_at_its_place(sizes: list[int], width: int, held: int, seed: int) -> None:
    rows, found = np.random.default_rng(0).normal(size=(sum(sizes), width)).astype(np.float32), {}
    order = np.random.default_rng(seed).permutation(len(rows))
    with Scatter(sizes, width, held) as scatter:
        for some in np.split(order, range(7, len(order), 7)):
            found |= dict(scatter.add(some, rows[some]))
            assert sum(scatter.bytes.values()) <= held
    assert sorted(found) == list(range(len(sizes)))
    assert np.array_equal(np.concatenate([found[index] for index in sorted(found)]), rows)


@pytest.mark.parametrize(("order", "spilled"), [("forward", False), ("shuffled", True)])
def test_only_what_is_out_of_order_goes_to_the_disk(order: str, spilled: bool) -> None:
    rows = np.arange(6000, dtype=np.float32).reshape(-1, 2)
    places = np.random.default_rng(0).permutation(3000) if order == "shuffled" else np.arange(3000)
    with Scatter([300] * 10, 2, held=300 * 8) as scatter:
        for some in np.split(places, 30):
            list(scatter.add(some, rows[some]))
        assert bool(scatter.spilled) == spilled
