"""Learning-rate schedules."""

import pytest

from dsopt.registry import SCHEDULES
from dsopt.training.schedules import cosine, linear, one_cycle


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


def test_linear_stays_then_falls_straight() -> None:
    assert linear(0.0) == 1.0 and linear(0.75) == pytest.approx(0.25) and linear(1.0) == 0.0
    assert linear(0.49, after=0.5) == 1.0 and linear(0.75, after=0.5) == pytest.approx(0.5)
    assert linear(1.0, floor=0.1) == pytest.approx(0.1) and linear(1.0, after=1.0) == 0.0


def test_one_cycle_goes_as_the_thesis_says() -> None:
    rates = [0.01 * one_cycle(i / 1000) for i in range(1001)]
    assert rates[0] == pytest.approx(0.0004) and max(rates) == rates[300] == 0.01 and rates[-1] == pytest.approx(0.000001)
    assert rates[:301] == sorted(rates[:301]) and rates[300:] == sorted(rates[300:], reverse=True)
