"""The table of results: what accuracy each training set bought, and what it cost."""

import statistics
import textwrap
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.errors import JobError

HEADER = ["training data", "images", "accuracy %", "training s", "choosing s", "total s"]


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
    """

    row: str
    method: str
    split: float
    images: int
    seeds: int
    accuracy_mean: float
    accuracy_sd: float | None
    training_seconds: float
    choosing_seconds: float
    total_seconds: float
    settings: dict[str, str] = field(default_factory=dict)
    judged_on: str = "test"


def summarise(metrics: pa.Table, runs: list[RunInfo], judged_on: str = "test") -> list[ResultRow]:
    """The rows of the table, in the order in which `runs` first names them.

    The accuracy of a run is that on the split `judged_on` at its last step, never the best one; its training time is the
    largest `seconds` among its rows. Deviations are sample deviations. Raises JobError for a run without such an
    accuracy.
    """
    tested = metrics.filter((pc.field("split") == judged_on) & (pc.field("name") == "accuracy")).sort_by("step")
    accuracy = dict(zip(tested["run"].to_pylist(), tested["value"].to_pylist(), strict=True))  # the last step wins
    longest = metrics.group_by("run").aggregate([("seconds", "max")])
    seconds = dict(zip(longest["run"].to_pylist(), longest["seconds_max"].to_pylist(), strict=True))
    for run in runs:
        if accuracy.get(run.run) is None:
            raise JobError(
                f"run {run.run!r} ({run.row}): its metrics have no {judged_on} accuracy (split={judged_on}, name=accuracy); "
                "did its training finish?"
            )
    return [_row(group, accuracy, seconds, judged_on) for group in by_row(runs).values()]


def by_row(runs: list[RunInfo]) -> dict[str, list[RunInfo]]:
    """The runs of each row of the table, in the order in which they first come."""
    groups: dict[str, list[RunInfo]] = {}
    for run in runs:
        groups.setdefault(run.row, []).append(run)
    return groups


def _row(runs: list[RunInfo], accuracy: dict[str, float], seconds: dict[str, float], judged_on: str) -> ResultRow:
    accuracies = [accuracy[run.run] for run in runs]
    training = statistics.fmean(seconds[run.run] for run in runs)
    choosing = statistics.fmean(run.choosing_seconds for run in runs)
    return ResultRow(
        row=runs[0].row,
        method=runs[0].method,
        split=runs[0].split,
        images=round(statistics.fmean(run.images for run in runs)),
        seeds=len(runs),
        accuracy_mean=statistics.fmean(accuracies),
        accuracy_sd=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        training_seconds=training,
        choosing_seconds=choosing,
        total_seconds=training + choosing,
        settings=runs[0].settings,
        judged_on=judged_on,
    )


def header(rows: list[ResultRow]) -> list[str]:
    """The columns' names: HEADER, or settings and the number of runs in place of the row's name."""
    settings = list(rows[0].settings) if rows else []
    return [*settings, "n", *HEADER[1:]] if settings else HEADER


def cells(rows: list[ResultRow]) -> list[list[str]]:
    """The table's cells as text, one list a row, under `header`; a missing deviation is blanks, so that means line up."""
    accuracies = [percent(row.accuracy_mean, row.accuracy_sd) for row in rows]
    if any(row.accuracy_sd is not None for row in rows):
        blank = " " * len(" ± 0.00")
        accuracies = [a + blank if row.accuracy_sd is None else a for a, row in zip(accuracies, rows, strict=True)]
    times = [[row.training_seconds, row.choosing_seconds, row.total_seconds] for row in rows]
    return [
        [*_leading(row), f"{row.images:,}", accuracy, *(f"{t:,.1f}" for t in time)]
        for row, accuracy, time in zip(rows, accuracies, times, strict=True)
    ]


def _leading(row: ResultRow) -> list[str]:
    return [*row.settings.values(), str(row.seeds)] if row.settings else [row.row]


def percent(mean: float, sd: float | None) -> str:
    """An accuracy in 0..1 as "71.20 ± 0.43"."""
    return f"{100 * mean:.2f}" + (f" ± {100 * sd:.2f}" if sd is not None else "")


def note(rows: list[ResultRow]) -> str:
    """What the columns mean, in one or two sentences."""
    counts = sorted({row.seeds for row in rows})
    seeds = " to ".join(str(n) for n in counts[:: max(1, len(counts) - 1)])
    images = "held-out training" if rows and rows[0].judged_on == "validation" else "test"
    accuracy = (
        f"Accuracy on the {images} images after the last step, mean ± sample standard deviation over {seeds} seeds."
        if counts and counts[-1] > 1
        else f"Accuracy on the {images} images after the last step, one seed: differences may be chance."
    )
    return f"{accuracy} Choosing counts everything done to get the subset; total is training plus choosing."


def as_text(rows: list[ResultRow]) -> str:
    """The table for a terminal."""
    head = header(rows)
    table = aligned(head, cells(rows), max(1, len(head) - len(HEADER)))
    rule = table.splitlines()[1]
    return "\n".join([table, rule, *textwrap.wrap(note(rows), len(rule))])


def aligned(head: list[str], lines: list[list[str]], words: int = 1) -> str:
    """Any table for a terminal; its first `words` columns are words, the others numbers."""
    table = [head, *lines]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    shown = [
        "  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]
    return "\n".join(line.rstrip() for line in [shown[0], "  ".join("─" * width for width in widths), *shown[1:]])


def as_markdown(rows: list[ResultRow]) -> str:
    """The table for a README."""
    table = [[cell.strip().replace("|", "\\|") for cell in line] for line in [header(rows), *cells(rows)]]
    table.insert(1, ["---"] + ["---:"] * (len(table[0]) - 1))
    return "\n".join(f"| {' | '.join(line)} |" for line in table) + f"\n\n{note(rows)}\n"
