"""Time to accuracy: when runs first stay above a target on held-out images, and accuracy over all seconds that they cost."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsopt.reporting.curves import End, label_ends, resample
from dsopt.reporting.figures import WIDTH, dashes
from dsopt.reporting.style import INK, Figure, blank, colors, picture, plain_log_ticks, shorten
from dsopt.reporting.tables import RunInfo, Spread, by_row, column

NOTE = (
    "A row has reached the target from the first evaluation on after which no later one is below it, on training images that are "
    "held out. Seconds are everything: choosing, reading and decoding before the first step, and training; not the evaluations. A "
    "row whose seeds do not all get there has no time."
)
HEADER = ["training data", "reached by", "steps", "seconds", "of these reading s", "choosing s"]


class Point(NamedTuple):
    """Accuracy at a moment of a run; seconds include everything charged to it."""

    step: int
    seconds: float
    accuracy: float


def curve(metrics: pa.Table, run: RunInfo) -> list[Point]:
    """The accuracy of a run on held-out images after steps, in order, with choosing and reading in its seconds."""
    mine = (pc.field("run") == run.run) & (pc.field("split") == "validation") & (pc.field("name") == "accuracy")
    found, before = metrics.filter(mine).sort_by("step"), run.choosing_seconds + run.reading_seconds
    columns = (found[name].to_pylist() for name in ("step", "seconds", "value"))
    return [Point(step, before + seconds, value) for step, seconds, value in zip(*columns, strict=True)]


def reached(points: Sequence[Point], target: float) -> Point | None:
    """The first point from which on all are at or above the target; None if the last one is below it."""
    first = None
    for point in reversed(points):
        if not point.accuracy >= target:
            break
        first = point
    return first


def table(metrics: pa.Table, runs: list[RunInfo], target: float) -> tuple[list[str], list[list[str]]]:
    """The times of all rows as a table (header, rows): means over seeds with sample standard deviations."""
    rows = by_row([run for run in runs if not run.failed])
    found = {row: [reached(curve(metrics, run), target) for run in group] for row, group in rows.items()}
    times = {row: [point for point in points if point] for row, points in found.items()}
    whole = {row: len(times[row]) == len(points) for row, points in found.items()}
    steps = [Spread.of([float(point.step) for point in times[row]]) if whole[row] else None for row in rows]
    seconds = [Spread.of([point.seconds for point in times[row]]) if whole[row] else None for row in rows]
    lines = []
    for row, taken, took in zip(rows, column(steps, places=0), column(seconds), strict=True):
        before = [statistics.fmean(getattr(run, f"{part}_seconds") for run in rows[row]) for part in ("reading", "choosing")]
        count = f"{len(times[row])} of {len(found[row])}"
        lines.append([row, count, taken or "–", took or "–", *(f"{value:,.1f}" for value in before)])
    return HEADER, lines


@picture
def accuracy_curves(metrics: pa.Table, runs: list[RunInfo], target: float) -> Figure:
    """Held-out accuracy over the seconds charged: one line per row, the mean over seeds, in a band from minimum to maximum.

    The axis is logarithmic if the lines end at times more than a factor of 4 apart. The target is dashed.
    """
    rows = by_row([run for run in runs if not run.failed])
    height = max(360, 60 + 17 * len(rows))
    figure = blank(WIDTH, height)
    axes, color, styles = figure.subplots(), colors(run.method for run in runs), dashes(runs)
    ends: list[End] = []
    for row, group in rows.items():
        curves = [curve(metrics, run) for run in group]
        columns = [
            (np.array([p.seconds for p in points]), np.array([100 * p.accuracy for p in points])) for points in curves if points
        ]
        if not columns:
            continue
        at, values = resample(columns)
        mean, own = values.mean(axis=0), color[group[0].method]
        axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=own, alpha=0.18, linewidth=0)
        marker = "o" if len(at) == 1 else None
        axes.plot(at, mean, color=own, linestyle=styles[group[0].split], linewidth=1.5, marker=marker, markersize=4)
        ends.append((shorten(row, 34), own, float(at[-1]), float(mean[-1])))
    if ends and max(end[2] for end in ends) > 4 * max(1e-9, min(end[2] for end in ends)):
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.axhline(100 * target, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
    axes.set_xlabel("seconds: choosing, reading, training")
    axes.set_ylabel("held-out accuracy, % (dashed: the target)")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    label_ends(axes, ends, spacing=16.5 / (height - 50))
    return figure
