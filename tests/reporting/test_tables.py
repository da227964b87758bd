import math
import re
from dataclasses import replace

import pyarrow as pa
import pytest

from dsopt.errors import JobError
from dsopt.reporting.tables import ResultRow, RunInfo, Spread, as_text, summarise
from dsopt.storage import METRICS


def metrics(*rows: tuple[str, int, float, str, str, float]) -> pa.Table:
    columns = zip(*[(run, 0, step, seconds, split, name, value) for run, step, seconds, split, name, value in rows], strict=True)
    return pa.table([list(column) for column in columns], schema=METRICS)


def info(run: str, row: str = "full data", choosing: float = 0.0) -> RunInfo:
    return RunInfo(run, row, "full", 0.0, seed=0, images=50_000, choosing_seconds=choosing)


def row(name: str, mean: float, sd: float | None, seconds: float = 12.0) -> ResultRow:
    return ResultRow(name, "random", 1.0, 4320, 3 if sd else 1, mean, sd, seconds, 0.5, seconds + 0.5)


def test_accuracy_is_that_of_the_last_step_not_the_best() -> None:
    table = metrics(
        ("a", 200, 9.0, "test", "accuracy", 0.5),  # rows come in any order
        ("a", 100, 5.0, "test", "accuracy", 0.9),
        ("a", 300, 12.0, "train", "accuracy", 1.0),
        ("a", 300, 12.0, "test", "loss", 0.1),
    )
    [result] = summarise(table, [info("a")])
    assert result.mean == 0.5
    assert result.sd is None and result.seeds == 1
    assert result.training_seconds == 12.0


def test_mean_sample_deviation_and_costs_over_seeds() -> None:
    table = metrics(*[(run, 10, 4.0, "test", "accuracy", value) for run, value in (("a", 0.1), ("b", 0.2), ("c", 0.6))])
    [result] = summarise(table, [info("a", choosing=1.0), info("b", choosing=2.0), info("c", choosing=3.0)])
    assert result.seeds == 3
    assert result.mean == pytest.approx(0.3)
    assert result.sd == pytest.approx(0.07**0.5)  # ((0.2² + 0.1² + 0.3²) / (3 - 1)) ** 0.5
    assert (result.choosing_seconds, result.total_seconds) == (2.0, 6.0)


def test_rows_come_as_first_named_and_other_runs_do_not_count() -> None:
    table = metrics(*[(run, 1, 1.0, "test", "accuracy", 0.5) for run in "abcd"])
    results = summarise(table, [info("c", "z"), info("a", "y"), info("b", "z")])
    assert [(r.row, r.seeds) for r in results] == [("z", 2), ("y", 1)]


def test_a_run_without_test_accuracy_is_named() -> None:
    table = metrics(("a", 1, 1.0, "test", "accuracy", 0.5), ("b", 1, 1.0, "train", "accuracy", 0.5))
    with pytest.raises(JobError, match=r"'b' \(random\).*no test accuracy"):
        summarise(table, [info("a"), info("b", "random")])


def test_failed_runs_are_rows_and_count_for_no_mean() -> None:
    table = metrics(("a", 1, 2.0, "test", "accuracy", 0.5), ("b", 1, 4.0, "test", "accuracy", 0.7))
    runs = [info("a"), replace(info("c"), failed=True), replace(info("d", "lost"), failed=True), info("b", "good")]
    some, lost, good = summarise(table, runs)
    assert (some.mean, some.seeds, some.failed, good.failed) == (0.5, 1, 1, 0) and math.isnan(lost.mean) and lost.seeds == 0
    lines = [re.split(r"  +", line) for line in as_text([some, lost, good]).splitlines()]
    assert lines[2] == ["full data (1 of 2 failed)", "50,000", "50.00", "2.0", "0.0", "2.0"]
    assert lines[3] == ["lost", "50,000", "failed"] and lines[4][0] == "good" and "one seed" in as_text([some, lost, good])
    assert as_text([lost]).splitlines()[2].split() == ["lost", "50,000", "failed"]


def test_text_columns_line_up() -> None:
    lines = as_text([row("full data", 0.9, 0.01), row("random, 100/0", 0.0512, None, 1234.5)]).splitlines()
    assert lines[0].split("  ")[0] == "training data" and "accuracy %" in lines[0]
    first, second = lines[2:4]
    assert first.index("90.00") == second.index("5.12") - 1  # the decimal points are under each other
    assert first.endswith("12.5") and second.endswith("1,235.0") and len(first) == len(second) == len(lines[1])
    assert "± 1.00" in first and "±" not in second
    assert max(len(line) for line in lines[4:]) <= len(lines[1])


def test_one_seed_is_called_by_its_name() -> None:
    text = as_text([row("a", 0.5, None)])
    assert "one seed" in text and "±" not in text


def test_an_empty_table_is_a_header() -> None:
    assert as_text([]).startswith("training data")


def test_settings_are_columns_of_their_own() -> None:
    table = metrics(*[(run, 10, 4.0, "validation", "accuracy", 0.5) for run in "abc"])
    runs = [
        RunInfo(run, f"row {lr}", "full", 0.0, 0, 10, 0.0, {"training data": "full data", "rate": lr})
        for run, lr in zip("abc", ["0.1", "0.1", "0.25"], strict=True)
    ]
    rows = summarise(table, runs, "validation")
    lines = as_text(rows).splitlines()
    assert lines[0].split() == [
        "training",
        "data",
        "rate",
        "n",
        "images",
        "accuracy",
        "%",
        "training",
        "s",
        "choosing",
        "s",
        "total",
        "s",
    ]
    assert lines[2].split()[:4] == ["full", "data", "0.1", "2"] and lines[3].split()[:4] == ["full", "data", "0.25", "1"]
    assert lines[2].index("0.1") == lines[3].index("0.25")  # words stand at the left
    assert "on the held-out training images" in as_text(rows)


def test_further_numbers_are_lined_up_like_numbers() -> None:
    rows = [replace(row("a", 0.5, 0.1), settings={"row": "a"}, others={"fcd": Spread(mean, 0.5)}) for mean in (7.25, 10.5)]
    lines = as_text(rows).splitlines()
    end = lines[0].index("fcd") + len("fcd")
    assert lines[2][:end].endswith(" 7.25 ± 0.50") and lines[3][:end].endswith("10.50 ± 0.50")
