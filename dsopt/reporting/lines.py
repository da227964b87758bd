"""Accuracy against a setting: one line for every combination of the other settings."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dsopt.reporting.style import FAINT, colours, picture, shorten

WIDTH = 760  # in CSS pixels
MARKERS = "osD^vP"


class Point(NamedTuple):
    """The runs of one setting: the mean of their accuracies in 0..1, and their deviation where there are several."""

    at: Any
    mean: float
    sd: float | None


@picture
def accuracy_lines(series: dict[str, list[Point]], references: dict[str, float], x: str) -> Figure:
    """Accuracy against the setting `x`, with the sample deviation as whiskers.

    Numbers stand at their place (on a logarithmic axis where they span more than a factor of 50), anything else side by side.

    Args:
        references: rows that have no place on the axis, as dashed lines: full data and the like.
    """
    places = _places([point.at for points in series.values() for point in points])
    figure = Figure(figsize=(WIDTH / 100, 3.4 + 0.1 * len(series)), layout="constrained")
    axes = figure.subplots()
    colour = colours([*series, *references])
    for i, (name, points) in enumerate(series.items()):
        ordered = sorted(points, key=lambda point: places[str(point.at)])
        at = [places[str(point.at)] for point in ordered]
        means = np.array([100 * point.mean for point in ordered])
        whiskers = [100 * (point.sd or 0.0) for point in ordered]
        style: dict[str, Any] = {"color": colour[name], "marker": MARKERS[i % len(MARKERS)], "markersize": 4.5, "linewidth": 1.5}
        axes.errorbar(at, means, yerr=whiskers, capsize=2.5, elinewidth=0.9, label=shorten(name, 40), **style)
    for i, (name, mean) in enumerate(references.items()):
        dash = (0, (3 + i, 2))
        axes.axhline(100 * mean, color=colour[name], linewidth=1, linestyle=dash, label=shorten(name, 40), zorder=1)
    numbers = [place for text, place in places.items() if _number(text)]
    if len(numbers) < len(places):
        axes.set_xticks(list(places.values()), [shorten(text, 16) for text in places])
    else:
        if min(numbers) > 0 and max(numbers) > 50 * min(numbers):
            axes.set_xscale("log")
        axes.set_xticks(sorted(numbers), [f"{number:,g}" for number in sorted(numbers)], minor=False)
        axes.minorticks_off()
    axes.set_xlabel(x)
    axes.set_ylabel("accuracy, %")
    axes.tick_params(axis="x", length=0, labelcolor=FAINT)
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=min(3, len(series) + len(references)), columnspacing=1.6)
    return figure


def _places(values: list[Any]) -> dict[str, float]:
    """Where on the axis each value stands."""
    texts = list(dict.fromkeys(str(value) for value in values))
    if all(map(_number, texts)):
        return {text: float(text) for text in texts}
    return {text: float(i) for i, text in enumerate(texts)}


def _number(text: str) -> bool:
    try:
        return np.isfinite(float(text)).item()
    except ValueError:
        return False
