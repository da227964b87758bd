"""Time to accuracy: the first moment after which a run stays above a target."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsopt.pipeline.outputs import metrics
from dsopt.reporting.tables import RunInfo
from dsopt.reporting.targets import Point, accuracy_curves, curve, reached, table


def run(name: str, row: str, choosing: float = 0.0, reading: float = 0.0) -> RunInfo:
    return RunInfo(name, row, "full", 0.0, 0, 10, choosing, reading_seconds=reading)


def measured(name: str, accuracies: list[float]) -> list[tuple]:
    kept = [(name, 0, 10 * i, 1.0 * i, "validation", "accuracy", value) for i, value in enumerate(accuracies, 1)]
    return [*kept, (name, 0, 5, 0.5, "train", "loss", 2.0)]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 9))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_from_the_reached_point_on_no_accuracy_is_below_the_target_and_the_one_before_is(values: list[int], target: int) -> None:
    points = [Point(i, float(i), value / 10) for i, value in enumerate(values)]
    found = reached(points, target / 10)
    after = points[found.step :] if found else points[-1:]
    assert all(point.accuracy >= target / 10 for point in after) == (found is not None)
    if found and found.step:
        assert points[found.step - 1].accuracy < target / 10


def test_nan_is_below_any_target() -> None:
    assert reached([Point(1, 1.0, 0.9), Point(2, 2.0, float("nan"))], 0.5) is None


def test_choosing_and_reading_are_charged() -> None:
    rows = metrics(measured("a", [0.2, 0.9, 0.5, 0.7, 0.8]))
    points = curve(rows, run("a", "a row", choosing=100.0, reading=10.0))
    assert [(point.step, point.seconds) for point in points][:2] == [(10, 111.0), (20, 112.0)]
    assert reached(points, 0.6) == Point(40, 114.0, 0.7)  # not at 20: it fell below again


def test_a_row_has_a_time_only_if_all_of_its_seeds_get_there() -> None:
    rows = metrics([*measured("a", [0.7, 0.8]), *measured("b", [0.5, 0.8]), *measured("c", [0.5, 0.55])])
    both, one = [run("a", "both"), run("b", "both")], [run("c", "one"), run("a", "one")]
    head, lines = table(rows, [*both, *one], 0.6)
    assert head[:4] == ["training data", "reached by", "steps", "seconds"]
    assert lines[0][:2] == ["both", "2 of 2"]
    assert lines[0][2] == "15 ± 7"  # of 10 and 20 steps
    assert lines[1][:4] == ["one", "1 of 2", "–", "–"]
    assert accuracy_curves(rows, [*both, *one], 0.6).startswith(b"\x89PNG")


def test_rows_without_a_single_evaluation_do_not_reach_anything() -> None:
    _, lines = table(metrics(measured("a", [])), [run("a", "a")], 0.6)
    assert lines[0][1:4] == ["0 of 1", "–", "–"]


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_the_ends_of_the_scale(target: float) -> None:
    assert (reached([Point(1, 1.0, 0.99)], target) is None) == (target == 1.0)
