"""Accuracy, or another measure, against a setting: one line for every combination of the other settings."""

from typing import Any

import numpy as np

from dsopt.reporting.style import FAINT, Figure, blank, colours, picture, shorten
from dsopt.reporting.tables import ACCURACY, Measure, Spread, column

WIDTH = 760  # in CSS pixels
MARKERS = "osD^vP"


Series = dict[str, dict[Any, Spread]]  # line -> value of the setting -> its runs


@picture
def lines(series: Series, references: dict[str, float], x: str, measure: Measure = ACCURACY) -> Figure:
    """Accuracy or another measure against the setting `x`, with the sample deviation as whiskers.

    Numbers stand at their place (on a logarithmic axis where they span more than a factor of 50) and are joined; words stand side
    by side, in no order that a line could tell of.

    Args:
        references: rows that have no place on the axis, as dashed lines: full data and the like.
    """
    scale, places = 100 if measure.percent else 1, _places(values_of(series))
    figure = blank(WIDTH, 340 + 10 * len(series))
    axes = figure.subplots()
    colour = colours([*series, *references])
    numbers = [place for text, place in places.items() if _number(text)]
    joined = len(numbers) == len(places)
    drawn: list[str] = []  # colours so far: what shares one has another marker
    for i, (name, points) in enumerate(series.items()):
        ordered = sorted((places[str(at)], spread) for at, spread in points.items())
        aside = 0 if joined else 0.5 * ((i + 0.5) / len(series) - 0.5)  # so that whiskers at a word do not hide each other
        at = [place + aside for place, _ in ordered]
        means = np.array([scale * spread.mean for _, spread in ordered])
        whiskers = [scale * (spread.sd or 0.0) for _, spread in ordered]
        style: dict[str, Any] = {"color": colour[name], "markersize": 4.5, "linewidth": 1.5}
        style["marker"] = MARKERS[drawn.count(colour[name]) % len(MARKERS)]
        drawn.append(colour[name])
        style["linestyle"] = "-" if joined else "none"
        axes.errorbar(at, means, yerr=whiskers, capsize=2.5, elinewidth=0.9, label=shorten(name, 40), **style)
    for i, (name, mean) in enumerate(references.items()):
        dash = (0, (3 + i, 2))
        axes.axhline(scale * mean, color=colour[name], linewidth=1, linestyle=dash, label=shorten(name, 40), zorder=1)
    if joined:
        if min(numbers) > 0 and max(numbers) > 50 * min(numbers):
            axes.set_xscale("log")
        axes.set_xticks(sorted(numbers), _apart(sorted(numbers), axes.get_xscale() == "log"), minor=False)
        axes.minorticks_off()
    else:
        axes.set_xticks(list(places.values()), [shorten(text, 16) for text in places])
    axes.set_xlabel(x)
    axes.set_ylabel(f"{measure.name}, %" if measure.percent else measure.name)
    axes.tick_params(axis="x", length=0, labelcolor=FAINT)
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=min(3, len(series) + len(references)), columnspacing=1.6)
    return figure


def table(series: Series, x: str, measure: Measure = ACCURACY) -> tuple[list[str], list[list[str]]]:
    """The same as a table: a row a line, a column a value of `x`; (header, rows)."""
    values = values_of(series)
    columns = [column([points.get(value) for points in series.values()], measure.percent) for value in values]
    return [f"{measure.title} over {x}", *map(str, values)], [list(row) for row in zip(series, *columns, strict=True)]


def _apart(numbers: list[float], logarithmic: bool) -> list[str]:
    """The labels of ascending numbers on an axis; empty where they would touch one further right."""
    at = np.log(numbers) if logarithmic else np.array(numbers)
    at, labels, edge = (at - at[0]) / max(at[-1] - at[0], 1e-12), [f"{number:,g}" for number in numbers], np.inf
    for i in reversed(range(len(labels))):
        half = 0.006 * (len(labels[i]) + 1)  # of the axis, for each letter
        if at[i] + half > edge:
            labels[i] = ""
        else:
            edge = at[i] - half
    return labels


def values_of(series: Series) -> list[Any]:
    """The values of the setting, in the order in which they first come."""
    return list(dict.fromkeys(value for points in series.values() for value in points))


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
