"""Line charts of accuracy, or another measure, over a setting: one line for every combination of the other settings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dsopt.reporting.style import FAINT, Figure, blank, colors, picture, shorten
from dsopt.reporting.tables import ACCURACY, Measure, Spread, column

WIDTH = 760  # in CSS pixels
MARKERS = "osD^vP"


Series = dict[str, dict[Any, Spread]]  # line -> value of the setting -> mean and standard deviation of its runs


@picture
def lines(
    series: Series,
    references: dict[str, float],
    x: str,
    measure: Measure = ACCURACY,
    paper: Mapping[str, Mapping[Any, float]] | None = None,
) -> Figure:
    """Accuracy, or another measure, over the setting `x`; whiskers are one sample standard deviation.

    Numeric settings are placed by value and joined by a line, on a logarithmic axis if they span more than a factor of 50. Other
    settings have no order: they are placed side by side, without a line.

    Args:
        references: rows without a value of the setting, such as full data, drawn as dashed lines.
        paper: a paper's numbers at points of the lines, drawn as hollow diamonds.
    """
    scale, places = 100 if measure.percent else 1, _places(values_of(series))
    figure = blank(WIDTH, 340 + 10 * len(series))
    axes = figure.subplots()
    color = colors([*series, *references])
    numbers = [place for text, place in places.items() if _number(text)]
    joined = len(numbers) == len(places)
    drawn: list[str] = []  # colors used so far: lines of the same color get different markers
    for i, (name, points) in enumerate(series.items()):
        ordered = sorted((places[str(at)], spread) for at, spread in points.items())
        offset = 0 if joined else 0.5 * ((i + 0.5) / len(series) - 0.5)  # so that whiskers at one place do not overlap
        at = [place + offset for place, _ in ordered]
        means = np.array([scale * spread.mean for _, spread in ordered])
        whiskers = [scale * (spread.sd or 0.0) for _, spread in ordered]
        style: dict[str, Any] = {"color": color[name], "markersize": 4.5, "linewidth": 1.5}
        style["marker"] = MARKERS[drawn.count(color[name]) % len(MARKERS)]
        drawn.append(color[name])
        style["linestyle"] = "-" if joined else "none"
        axes.errorbar(at, means, yerr=whiskers, capsize=2.5, elinewidth=0.9, label=shorten(name, 40), **style)
        for value, number in (paper or {}).get(name, {}).items():
            axes.plot([places[str(value)] + offset], [scale * number], "D", color="none", markeredgecolor=color[name], markersize=6)
    for i, (name, mean) in enumerate(references.items()):
        dash = (0, (3 + i, 2))
        axes.axhline(scale * mean, color=color[name], linewidth=1, linestyle=dash, label=shorten(name, 40), zorder=1)
    if joined:
        if min(numbers) > 0 and max(numbers) > 50 * min(numbers):
            axes.set_xscale("log")
        axes.set_xticks(sorted(numbers), _apart(sorted(numbers), axes.get_xscale() == "log"), minor=False)
        axes.minorticks_off()
    else:
        axes.set_xticks(list(places.values()), [shorten(text, 16) for text in places])
    axes.set_xlabel(f"{x} (diamonds: the paper)" if paper else x)
    axes.set_ylabel(f"{measure.name}, %" if measure.percent else measure.name)
    axes.tick_params(axis="x", length=0, labelcolor=FAINT)
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=min(3, len(series) + len(references)), columnspacing=1.6)
    return figure


def table(series: Series, x: str, measure: Measure = ACCURACY) -> tuple[list[str], list[list[str]]]:
    """The same as a table (header, rows): one row per line, one column per value of `x`."""
    values = values_of(series)
    columns = [column([points.get(value) for points in series.values()], measure.percent) for value in values]
    return [f"{measure.title} over {x}", *map(str, values)], [list(row) for row in zip(series, *columns, strict=True)]


def fits(series: Series, measure: Measure = ACCURACY) -> tuple[list[str], list[list[str]]]:
    """A line `a + b log10(x)` through every curve of four values above 0 or more, as a table (header, rows); no rows without any.

    R2 is the share of the variance of the means that it explains (the augmentation paper, section 3, has it above 0.90).
    """
    scale, rows = 100 if measure.percent else 1, []
    for name, points in series.items():
        at = [(float(value), scale * spread.mean) for value, spread in points.items() if _number(str(value)) and float(value) > 0]
        if len({value for value, _ in at}) < 4 or len(at) < len(points):
            continue
        x, y = np.log10([value for value, _ in at]), np.array([mean for _, mean in at])
        slope, start = np.polyfit(x, y, 1)
        left, whole = np.square(y - start - slope * x).sum(), np.square(y - y.mean()).sum()
        rows.append([name, f"{slope:+.2f}", f"{1 - left / whole:.3f}" if whole > 0 else "–"])
    return ["curve", f"{measure.title} per tenfold", "R²"], rows


def _apart(numbers: list[float], logarithmic: bool) -> list[str]:
    """The labels of ascending numbers on an axis; empty where a label would touch the next one to its right."""
    at = np.log(numbers) if logarithmic else np.array(numbers)
    at, labels, edge = (at - at[0]) / max(at[-1] - at[0], 1e-12), [f"{number:,g}" for number in numbers], np.inf
    for i in reversed(range(len(labels))):
        half = 0.006 * (len(labels[i]) + 1)  # half the label's width: a character is about 0.012 of the axis wide
        if at[i] + half > edge:
            labels[i] = ""
        else:
            edge = at[i] - half
    return labels


def values_of(series: Series) -> list[Any]:
    """The values of the setting, in order of first appearance."""
    return list(dict.fromkeys(value for points in series.values() for value in points))


def _places(values: list[Any]) -> dict[str, float]:
    """The position of each value on the axis."""
    texts = list(dict.fromkeys(str(value) for value in values))
    if all(map(_number, texts)):
        return {text: float(text) for text in texts}
    return {text: float(i) for i, text in enumerate(texts)}


def _number(text: str) -> bool:
    try:
        return np.isfinite(float(text)).item()
    except ValueError:
        return False
