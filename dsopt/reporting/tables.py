"""The table of results: the accuracy that each training set reached, and its cost in time."""

import math
import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.config.references import Published
from dsopt.errors import JobError
from dsopt.reporting import published as papers

TIMES = ["training s", "choosing s", "total s"]
HEADER = ["training data", "images", "accuracy %", *TIMES]


class Spread(NamedTuple):
    """The mean over runs, and the sample standard deviation if there are several."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


class Measure(NamedTuple):
    """The metric by which rows are compared.

    Args:
        name: its name in the metrics table.
        about: how it is measured, for the note below the table; `{images}` is replaced by the kind of images.
        percent: its values are in 0..1 and shown in percent.
        higher: higher is better.
    """

    name: str
    about: str
    percent: bool = False
    higher: bool = True

    @property
    def title(self) -> str:
        return f"{self.name} %" if self.percent else self.name

    def score(self, value: float) -> float:
        """The value with its sign such that higher is better; its own inverse."""
        return value if self.higher else -value

    def shown(self, value: float) -> str:
        return f"{100 * value:.2f} %" if self.percent else f"{self.name} {value:.4g}"


ACCURACY = Measure("accuracy", "Accuracy on the {images} images after the last step", percent=True)
KEPT_BEST = ACCURACY._replace(about="Accuracy on the {images} images of the weights that were best on held-out ones, not the last")


@dataclass(frozen=True)
class RunInfo:
    """Describes one run of the metrics table.

    Args:
        run: its unique id, as in the metrics table's `run` column.
        row: the row of the results table that it belongs to: "full data", "random, 100/0".
        method: the selection method; "full" for none. It determines the color in every figure.
        split: the fraction of the budget spent on the subset; 0 for full data.
        images: the size of the subset, or of the full set.
        choosing_seconds: the time that the selection took; 0 for full data.
        settings: shown in columns of their own instead of the row's name: {"budget": "0.1"}.
        failed: it has no metrics.
        published: what a paper has for its row, by measure.
        reading_seconds: the time that reading and decoding took before the first step.
    """

    run: str
    row: str
    method: str
    split: float
    seed: int
    images: int
    choosing_seconds: float
    settings: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    published: dict[str, Published] = field(default_factory=dict)
    reading_seconds: float = 0.0


@dataclass(frozen=True)
class ResultRow:
    """One row of the table: means over its finished runs. Accuracy is in 0..1; `sd` is None for a single seed.

    Args:
        seeds: the number of finished runs; without any, means are NaN.
        failed: the number of failed ones.
        split: the fraction of the budget spent on the subset.
        judged_on: the images on which accuracy was measured: "test" or "validation".
        measure: the metric of `mean` and `sd`.
        others: further metrics by name.
        published: what a paper has for the row, by measure.
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
    failed: int = 0
    published: dict[str, Published] = field(default_factory=dict)


def summarise(
    metrics: pa.Table, runs: list[RunInfo], judged_on: str = "test", measure: Measure = ACCURACY, others: Sequence[str] = ()
) -> list[ResultRow]:
    """The rows of the table, in the order of their first run in `runs`.

    A run's accuracy (or other measure) is that on the split `judged_on` at its last step, never the best one. Its training time is
    the largest `seconds` among its rows of the metrics.

    Args:
        others: names of further metrics; one that a run does not have is left out of its row.

    Raises:
        JobError: a run has no such accuracy.
    """
    tested = metrics.filter(pc.field("split") == judged_on).sort_by("step")
    reached: dict[str, dict[str, float]] = {}
    for run, name, value in zip(*(tested[column].to_pylist() for column in ("run", "name", "value")), strict=True):
        reached.setdefault(run, {})[name] = value  # the last step wins
    longest = metrics.group_by("run").aggregate([("seconds", "max")])
    seconds = dict(zip(longest["run"].to_pylist(), longest["seconds_max"].to_pylist(), strict=True))
    for run in (run for run in runs if not run.failed):
        if reached.get(run.run, {}).get(measure.name) is None:
            raise JobError(
                f"run {run.run!r} ({run.row}): its metrics have no {judged_on} {measure.name} (split={judged_on}, "
                f"name={measure.name}); did its training finish?"
            )
    return [_row(group, reached, seconds, judged_on, measure, others) for group in by_row(runs).values()]


def by_row(runs: list[RunInfo]) -> dict[str, list[RunInfo]]:
    """The runs of each row of the table, in order of first appearance."""
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
    done = [run for run in runs if not run.failed]
    found = [reached[run.run] for run in done]
    training = statistics.fmean(seconds[run.run] for run in done) if done else math.nan
    choosing = statistics.fmean(run.choosing_seconds for run in done) if done else math.nan
    mean, sd = Spread.of([values[measure.name] for values in found]) if done else Spread(math.nan, None)
    return ResultRow(
        row=runs[0].row,
        method=runs[0].method,
        split=runs[0].split,
        images=round(statistics.fmean(run.images for run in done or runs)),
        seeds=len(done),
        mean=mean,
        sd=sd,
        training_seconds=training,
        choosing_seconds=choosing,
        total_seconds=training + choosing,
        settings=runs[0].settings,
        judged_on=judged_on,
        measure=measure,
        others={name: Spread.of([v[name] for v in found]) for name in others if found and all(name in values for values in found)},
        failed=len(runs) - len(done),
        published=runs[0].published,
    )


def header(rows: list[ResultRow]) -> list[str]:
    """The column names: HEADER, with settings and the number of runs instead of the row's name, and with the measures in use."""
    if not rows:
        return HEADER
    leading = [*rows[0].settings, "n"] if rows[0].settings else HEADER[:1]
    published = [title for title, _ in papers.columns(rows)]
    return [*leading, HEADER[1], rows[0].measure.title, *published, *_others(rows), *TIMES]


def cells(rows: list[ResultRow]) -> list[list[str]]:
    """The cells as text, one list per row, under `header`; a missing standard deviation becomes blanks, so that means align."""
    reached = [Spread(row.mean, row.sd) if row.seeds else None for row in rows]
    columns = [[text or "failed" for text in column(reached, rows[0].measure.percent)]] if rows else []
    columns += [found for _, found in papers.columns(rows)]
    columns += [column([row.others.get(name) for row in rows]) for name in _others(rows)]
    times = [[row.training_seconds, row.choosing_seconds, row.total_seconds] for row in rows]
    return [
        [
            *_leading(row),
            f"{row.images:,}" if row.images else "",
            *(column[i] for column in columns),
            *(f"{t:,.1f}" if row.seeds else "" for t in times[i]),
        ]
        for i, row in enumerate(rows)
    ]


def _others(rows: list[ResultRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.others))


def column(spreads: Sequence[Spread | None], percent: bool = False, places: int | None = None) -> list[str]:
    """Means and standard deviations as "71.20 ± 0.43", aligned, with equally many decimals; "" for None.

    Args:
        places: decimals; None: two for percents, else as many as give the largest mean four significant digits, at most six.
    """
    scale = 100 if percent else 1
    largest = max((abs(spread.mean) for spread in spreads if spread and math.isfinite(spread.mean)), default=0.0)
    if places is None:
        places = 2 if percent or not largest else min(6, max(0, 3 - math.floor(math.log10(largest))))

    def shown(spread: Spread) -> str:
        mean, sd = spread
        return f"{scale * mean:.{places}f}" + (f" ± {scale * sd:.{places}f}" if sd is not None else "")

    blank = " " * len(f" ± {0:.{places}f}") * any(spread is not None and spread.sd is not None for spread in spreads)
    return ["" if spread is None else shown(spread) + (blank if spread.sd is None else "") for spread in spreads]


def _leading(row: ResultRow) -> list[str]:
    if row.settings:
        return [*row.settings.values(), str(row.seeds)]
    return [f"{row.row} ({row.failed} of {row.seeds + row.failed} failed)" if row.seeds and row.failed else row.row]


def percent(mean: float, sd: float | None) -> str:
    """An accuracy in 0..1 as "71.20 ± 0.43"."""
    return column([Spread(mean, sd)], percent=True)[0]


def note(rows: list[ResultRow]) -> str:
    """A sentence or two that explain the columns."""
    counts = sorted({row.seeds for row in rows if row.seeds})
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
    """Any table for a terminal: the first `words` columns are text, aligned to the left, the others numbers, to the right."""
    table = [head, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    shown = [
        "  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]
    return "\n".join(line.rstrip() for line in [shown[0], "  ".join("─" * width for width in widths), *shown[1:]])
