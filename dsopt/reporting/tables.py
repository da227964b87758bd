"""The table of results: what accuracy each training set bought, and what it cost."""

import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.errors import JobError

TIMES = ["training s", "choosing s", "total s"]
HEADER = ["training data", "images", "accuracy %", *TIMES]


class Spread(NamedTuple):
    """The mean over runs, and their sample deviation where there are several."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


class Measure(NamedTuple):
    """What rows are compared by: a number of the metrics.

    Args:
        about: what it is of, for the note; `{images}` stands for which images.
        percent: it is in 0..1 and shown in percent.
        higher: more is better.
    """

    name: str
    about: str
    percent: bool = False
    higher: bool = True

    @property
    def title(self) -> str:
        return f"{self.name} %" if self.percent else self.name

    def score(self, value: float) -> float:
        """More is better; and back again."""
        return value if self.higher else -value

    def shown(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.percent else f"{self.name} {value:.4g}"


ACCURACY = Measure("accuracy", "Accuracy on the {images} images after the last step", percent=True)


@dataclass(frozen=True)
class RunInfo:
    """What the metrics of one run belong to.

    Args:
        run: its unique id, as in the metrics table's `run` column.
        row: the row of the table that it counts for: "full data", "random, 100/0".
        method: how its images were chosen; "full" for no choosing. Decides the colour in every figure.
        split: share of the budget spent on the subset; 0 for full data.
        images: size of the subset, or of the full set.
        choosing_seconds: what choosing the subset cost; 0 for full data.
        settings: what the row is described by in columns of their own, instead of by its name: {"budget": "0.1"}.
    """

    run: str
    row: str
    method: str
    split: float
    seed: int
    images: int
    choosing_seconds: float
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResultRow:
    """One row of the table: means over its runs. Accuracy is in 0..1; its deviation is None for a single seed.

    Args:
        split: share of the budget spent on the subset.
        judged_on: the images that accuracy is of: "test" or "validation".
        measure: what `mean` and `sd` are of.
        others: further numbers by name.
    """

    row: str
    method: str
    split: float
    images: int
    seeds: int
    mean: float
    sd: float | None
    training_seconds: float
    choosing_seconds: float
    total_seconds: float
    settings: dict[str, str] = field(default_factory=dict)
    judged_on: str = "test"
    measure: Measure = ACCURACY
    others: dict[str, Spread] = field(default_factory=dict)


def summarise(
    metrics: pa.Table, runs: list[RunInfo], judged_on: str = "test", measure: Measure = ACCURACY, others: Sequence[str] = ()
) -> list[ResultRow]:
    """The rows of the table, in the order in which `runs` first names them.

    The accuracy (or other measure) of a run is that on the split `judged_on` at its last step, never the best one; its training
    time is the largest `seconds` among its rows. Deviations are sample deviations. Raises JobError for a run without such an
    accuracy.

    Args:
        others: names of further numbers; those that a run does not have are left out of its row.
    """
    tested = metrics.filter(pc.field("split") == judged_on).sort_by("step")
    reached: dict[str, dict[str, float]] = {}
    for run, name, value in zip(*(tested[column].to_pylist() for column in ("run", "name", "value")), strict=True):
        reached.setdefault(run, {})[name] = value  # the last step wins
    longest = metrics.group_by("run").aggregate([("seconds", "max")])
    seconds = dict(zip(longest["run"].to_pylist(), longest["seconds_max"].to_pylist(), strict=True))
    for run in runs:
        if reached.get(run.run, {}).get(measure.name) is None:
            raise JobError(
                f"run {run.run!r} ({run.row}): its metrics have no {judged_on} {measure.name} (split={judged_on}, "
                f"name={measure.name}); did its training finish?"
            )
    return [_row(group, reached, seconds, judged_on, measure, others) for group in by_row(runs).values()]


def by_row(runs: list[RunInfo]) -> dict[str, list[RunInfo]]:
    """The runs of each row of the table, in the order in which they first come."""
    groups: dict[str, list[RunInfo]] = {}
    for run in runs:
        groups.setdefault(run.row, []).append(run)
    return groups


def _row(
    runs: list[RunInfo],
    reached: dict[str, dict[str, float]],
    seconds: dict[str, float],
    judged_on: str,
    measure: Measure,
    others: Sequence[str],
) -> ResultRow:
    found = [reached[run.run] for run in runs]
    training = statistics.fmean(seconds[run.run] for run in runs)
    choosing = statistics.fmean(run.choosing_seconds for run in runs)
    mean, sd = Spread.of([values[measure.name] for values in found])
    return ResultRow(
        row=runs[0].row,
        method=runs[0].method,
        split=runs[0].split,
        images=round(statistics.fmean(run.images for run in runs)),
        seeds=len(runs),
        mean=mean,
        sd=sd,
        training_seconds=training,
        choosing_seconds=choosing,
        total_seconds=training + choosing,
        settings=runs[0].settings,
        judged_on=judged_on,
        measure=measure,
        others={name: Spread.of([v[name] for v in found]) for name in others if all(name in values for values in found)},
    )


def header(rows: list[ResultRow]) -> list[str]:
    """The columns' names: HEADER, or settings and the number of runs in place of the row's name, and what is measured."""
    if not rows:
        return HEADER
    leading = [*rows[0].settings, "n"] if rows[0].settings else HEADER[:1]
    return [*leading, HEADER[1], rows[0].measure.title, *_others(rows), *TIMES]


def cells(rows: list[ResultRow]) -> list[list[str]]:
    """The table's cells as text, one list a row, under `header`; a missing deviation is blanks, so that means line up."""
    columns = [column([Spread(row.mean, row.sd) for row in rows], rows[0].measure.percent)] if rows else []
    columns += [column([row.others.get(name) for row in rows]) for name in _others(rows)]
    times = [[row.training_seconds, row.choosing_seconds, row.total_seconds] for row in rows]
    return [
        [*_leading(row), f"{row.images:,}", *(column[i] for column in columns), *(f"{t:,.1f}" for t in times[i])]
        for i, row in enumerate(rows)
    ]


def _others(rows: list[ResultRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.others))


def column(spreads: Sequence[Spread | None], percent: bool = False) -> list[str]:
    """Means and deviations as "71.20 ± 0.43", all with as many places, and lined up; "" where there is none."""
    scale = 100 if percent else 1
    largest = max((abs(spread.mean) for spread in spreads if spread and math.isfinite(spread.mean)), default=0.0)
    places = 2 if percent or not largest else min(6, max(0, 3 - math.floor(math.log10(largest))))

    def shown(spread: Spread) -> str:
        mean, sd = spread
        return f"{scale * mean:.{places}f}" + (f" ± {scale * sd:.{places}f}" if sd is not None else "")

    blank = " " * len(f" ± {0:.{places}f}") * any(spread is not None and spread.sd is not None for spread in spreads)
    return ["" if spread is None else shown(spread) + (blank if spread.sd is None else "") for spread in spreads]


def _leading(row: ResultRow) -> list[str]:
    return [*row.settings.values(), str(row.seeds)] if row.settings else [row.row]


def percent(mean: float, sd: float | None) -> str:
    """An accuracy in 0..1 as "71.20 ± 0.43"."""
    return column([Spread(mean, sd)], percent=True)[0]


def note(rows: list[ResultRow]) -> str:
    """What the columns mean, in one or two sentences."""
    counts = sorted({row.seeds for row in rows})
    seeds = " to ".join(str(n) for n in counts[:: max(1, len(counts) - 1)])
    images = "held-out training" if rows and rows[0].judged_on == "validation" else "test"
    about = (rows[0].measure if rows else ACCURACY).about.format(images=images)
    spread = (
        f"mean ± sample standard deviation over {seeds} seeds."
        if counts and counts[-1] > 1
        else "one seed: differences may be chance."
    )
    return f"{about}, {spread} Choosing counts everything done to get the subset; total is training plus choosing."


def as_text(rows: list[ResultRow]) -> str:
    """The table for a terminal."""
    head = header(rows)
    table = aligned(head, cells(rows), max(1, len(rows[0].settings)) if rows else 1)
    rule = table.splitlines()[1]
    return "\n".join([table, rule, *textwrap.wrap(note(rows), len(rule))])


def aligned(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """Any table for a terminal; its first `words` columns are words, the others numbers."""
    table = [head, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    shown = [
        "  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]
    return "\n".join(line.rstrip() for line in [shown[0], "  ".join("─" * width for width in widths), *shown[1:]])
