"""Learning-rate schedules."""

import pytest

from dsopt.registry import SCHEDULES
from dsopt.training.schedules import cosine


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_contract(name: str) -> None:
    """Above nothing at the start, never above the full rate, never negative."""
    schedule = SCHEDULES.build(name)
    rates = [schedule(i / 200) for i in range(201)]
    assert rates[0] > 0 and min(rates) >= 0 and max(rates) <= 1 and max(rates) > 0.99


def test_cosine_rises_then_falls_to_its_floor() -> None:
    assert cosine(0.0) < cosine(0.025) < cosine(0.05) == 1.0
    assert cosine(0.525) == pytest.approx(0.5) and cosine(1.0) == pytest.approx(0.0)
    assert cosine(1.0, floor=0.1) == pytest.approx(0.1)
