"""What stands beside a configuration key: its meaning, its bound, and the registered functions that it takes."""

import math

import pytest

from dsopt.config import Config, load
from dsopt.config.keys import above, at_least, each, interval, one_of, walk
from dsopt.errors import InputError


def test_every_default_is_within_its_bound() -> None:
    bounds = [item for item in walk(Config()) if item.about.bound]
    assert len(bounds) > 90
    for item in bounds:
        assert item.value is None or item.about.bound.holds(item.value), item.path


def test_bounds() -> None:
    assert [at_least(1).holds(value) for value in (0, 1, 5, math.inf, math.nan)] == [False, True, True, False, False]
    assert [above(0).holds(value) for value in (0, 0.1, math.inf, math.nan)] == [False, True, False, False]
    assert [interval("(0, 1]").holds(value) for value in (0, 0.5, 1, 1.1, math.nan)] == [False, True, True, False, False]
    assert [interval("[0, 1)").holds(value) for value in (-1, 0, 0.5, 1)] == [False, True, True, False]
    assert [each(at_least(2)).holds(values) for values in ([], [2, 3], [1, 3])] == [True, True, False]
    assert [one_of(1, 3).holds(value) for value in (1, 2, 3)] == [True, False, True]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.image_size=0", "data.image_size=0: must be at least 1 pixel."),
        ("data.channels=2", "data.channels=2: must be 1 or 3."),
        ("compare.splits=[0.5,2]", "compare.splits=[0.5, 2.0]: must be a list of values in (0, 1]."),
        ("sweep.title=a/b", "sweep.title=a/b: must be a word of letters, digits, _, - and .."),
    ],
)
def test_a_value_out_of_its_bound_is_told(override: str, told: str) -> None:
    with pytest.raises(InputError) as error:
        load([override])
    assert str(error.value) == told
