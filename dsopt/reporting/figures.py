"""The figures of a report: pure functions from arrays and tables to PNG bytes."""

import math
from collections import defaultdict
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, UInt8

from dsopt.errors import JobError
from dsopt.reporting.curves import End, label_ends, moving_average, resample
from dsopt.reporting.pictures import embedding_picture, enlarge, strip
from dsopt.reporting.published import mark
from dsopt.reporting.style import FAINT, INK, Figure, blank, colors, picture, shorten, text_width
from dsopt.reporting.tables import ResultRow, RunInfo, Spread, by_row, column

MAX_CLASSES = 20  # a figure with more rows cannot be read at a glance
MAX_COLUMNS = 10
WIDTH = 760  # of a chart, in CSS pixels


# --- pictures ------------------------------------------------------------------------------------------------------


@picture
def reconstructions(
    inputs: UInt8[np.ndarray, "m h w c"],
    embeddings: Float[np.ndarray, "m d"],
    outputs: Float[np.ndarray, "m h2 w2 c"],
) -> Figure:
    """Inputs of an autoencoder, their embeddings as pictures, and reconstructions (the selection paper's figures 3 and 4).

    `outputs` are clipped to 0..1. The first ten images are shown. All embeddings share one gray scale: black is their smallest
    value, white their 99th percentile.
    """
    m, side, gap, margin = min(len(inputs), MAX_COLUMNS), 128, 8, 92.0
    reconstructed = np.rint(np.nan_to_num(outputs[:m]).clip(0, 1) * 255).astype(np.uint8)
    rows = {
        "input": [enlarge(image, side) for image in inputs[:m]],
        "embedding": [enlarge(image, side) for image in embedding_picture(embeddings[:m])],
        "reconstruction": [enlarge(image, side) for image in reconstructed],
    }
    width = max(image.shape[1] for images in rows.values() for image in images)
    strips = [strip(images, max(image.shape[0] for image in images), width, gap) for images in rows.values()]
    figure = _canvas(margin + strips[0].shape[1] / 2, sum(s.shape[0] / 2 + gap for s in strips) - gap)
    top = 0.0
    for title, pixels in zip(rows, strips, strict=True):
        _write(figure, title, margin - 10, top + pixels.shape[0] / 4, ha="right")
        _place(figure, pixels, margin, top)
        top += pixels.shape[0] / 2 + gap
    return figure


@picture
def image_grid(groups: list[tuple[str, list[tuple[str, UInt8[np.ndarray, "_ _ _ _"]]]]]) -> Figure:
    """Images by class: one panel per group, side by side; one row per class, with its name on the left.

    At most 20 classes are shown, and at most 20 images per row over all panels.

    Args:
        groups: for each panel its title and, for each class, its name and images; a class may be missing or empty.
    """
    panels = [(title, dict(classes)) for title, classes in groups]
    names = list(dict.fromkeys(name for _, classes in panels for name in classes))
    shown = names[:MAX_CLASSES]
    most = max([len(images) for _, classes in panels for images in classes.values()], default=0)
    columns = max(1, min(most, 2 * MAX_COLUMNS // max(1, len(panels))))
    rows = {(i, name): [enlarge(x, 84) for x in panels[i][1].get(name, [])[:columns]] for i in range(len(panels)) for name in shown}
    sizes = [image.shape for images in rows.values() for image in images] or [(84, 84, 3)]
    height, width, gap, between, head = max(s[0] for s in sizes), max(s[1] for s in sizes), 4, 24, 26
    labels = {name: shorten(name, 28) for name in shown}
    margin = 14.0 + max(map(text_width, labels.values()), default=0)
    across, down = (columns * (width + gap) - gap) / 2, (height + gap) / 2
    foot = 24 if len(names) > len(shown) else 0
    figure = _canvas(margin + len(panels) * (across + between) - between, head + len(shown) * down + foot)
    for i, (title, _) in enumerate(panels):
        _write(figure, shorten(title, int(across / 6.4)), margin + i * (across + between), 8.0, weight="bold")
    for j, name in enumerate(shown):
        _write(figure, labels[name], margin - 10, head + j * down + height / 4, ha="right")
        for i in range(len(panels)):
            left, top = margin + i * (across + between), head + j * down
            if rows[i, name]:
                _place(figure, strip(rows[i, name], height, width, gap), left, top)
            else:
                _write(figure, "none", left, top + height / 4, color=FAINT)
    if foot:
        _write(
            figure,
            f"the first {len(shown)} of {len(names)} classes",
            margin,
            head + len(shown) * down + 12,
            color=FAINT,
        )
    return figure


def _canvas(width: float, height: float) -> Figure:
    return blank(math.ceil(max(width, 160)) + 8, math.ceil(height) + 8, layout=None)


def _place(figure: Figure, pixels: UInt8[np.ndarray, "h w 3"], left: float, top: float) -> None:
    """Draw an image so that each of its pixels is one pixel of the file; `left` and `top` are in CSS pixels."""
    width, height = figure.get_size_inches() * 100
    h, w = pixels.shape[0] / 2, pixels.shape[1] / 2
    axes = figure.add_axes(((left + 4) / width, 1 - (top + 4 + h) / height, w / width, h / height))
    axes.imshow(pixels, aspect="auto", interpolation="nearest")
    axes.set_axis_off()


def _write(figure: Figure, text: str, left: float, top: float, **style: Any) -> None:
    width, height = figure.get_size_inches() * 100
    figure.text((left + 4) / width, 1 - (top + 4) / height, text, va="center_baseline", **style)


# --- charts --------------------------------------------------------------------------------------------------------


@picture
def class_histogram(counts: dict[str, list[int]], classes: list[str]) -> Figure:
    """The number of images of each class in every subset, as grouped bars.

    If there are more than 20 classes, those whose fractions differ most between the subsets are shown, and the figure says so.

    Args:
        counts: for each subset, by the name of its method, the number of images of each class.
    """
    table = np.array([counts[name] for name in counts], dtype=float).reshape(len(counts), len(classes))
    shares = table / table.sum(axis=1, keepdims=True).clip(1)
    shown = np.arange(len(classes))
    if len(classes) > MAX_CLASSES:
        shown = np.sort(np.argsort(-np.ptp(shares, axis=0), kind="stable")[:MAX_CLASSES])
    labels = [shorten(classes[i], 16) for i in shown]
    crowded = sum(len(label) + 2 for label in labels) * 6 > WIDTH - 60

    figure = blank(WIDTH, 330 if crowded else 300)
    axes = figure.subplots()
    width = 0.8 / max(1, len(counts))
    color = colors(counts)
    for i, name in enumerate(counts):
        places = np.arange(len(shown)) + (i - (len(counts) - 1) / 2) * width
        axes.bar(places, table[i, shown], width * 0.92, color=color[name], label=shorten(name, 30))
    middle, half = (len(shown) - 1) / 2, max(len(shown), 4) / 2 + 0.1
    axes.set_xlim(middle - half, middle + half)
    axes.set_xticks(
        np.arange(len(shown)), labels, **({"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if crowded else {})
    )
    axes.tick_params(axis="x", length=0)
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("images")
    axes.grid(axis="y")
    if len(shown) < len(classes):
        axes.set_xlabel(f"{len(shown)} of {len(classes)} classes: those whose shares differ most between the subsets", color=FAINT)
    if counts:
        figure.legend(loc="outside upper left", ncols=min(4, len(counts)), handlelength=0.9, handleheight=0.9, columnspacing=1.6)
    return figure


@picture
def accuracy_bars(rows: list[ResultRow]) -> Figure:
    """Test accuracy (or the rows' other measure) as bars from zero, grouped by split; whiskers are one sample standard deviation.

    A dashed line marks training on the full data, a diamond a paper's number for the row.
    """
    groups: dict[float, list[ResultRow]] = defaultdict(list)
    for row in rows:
        groups[row.split].append(row)
    figure = blank(WIDTH, 40 + sum(36 + 24 * len(group) for group in groups.values()))
    heights = [len(group) for group in groups.values()]
    grid = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    color = colors(row.method for row in rows)
    reference = next((row.mean for row in rows if row.split == 0 and row.method == "full"), None)
    measure = rows[0].measure
    scale = 100 if measure.percent else 1
    for axes, (split, group) in zip(grid, groups.items(), strict=True):
        if len(groups) > 1:
            axes.set_title(_heading(split), color=FAINT)
        values = column([Spread(row.mean, row.sd) for row in group], measure.percent)
        for y, (row, value) in enumerate(zip(group, values, strict=True)):
            axes.barh(y, scale * row.mean, 0.66, color=color[row.method])
            if (paper := mark(row)) is not None:
                axes.plot([scale * paper], [y], "D", color="white", markeredgecolor=INK, markersize=4.5, zorder=3)
            if row.sd:
                axes.errorbar(scale * row.mean, y, xerr=scale * row.sd, color=INK, linewidth=1, capsize=2.5, capthick=1)
            axes.text(1.015, y, value, transform=axes.get_yaxis_transform(), va="center_baseline")
        labels = [shorten(row.row.removesuffix(f", {_name(split)}"), 34) for row in group]
        axes.set_yticks(range(len(group)), labels)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        if reference is not None:
            axes.axvline(scale * reference, color=INK, linewidth=0.9, linestyle=(0, (3, 2)))
        axes.tick_params(axis="x", length=0)
        if axes is not grid[-1]:
            axes.spines["bottom"].set_visible(False)
    grid[-1].set_xlim(0, None)
    unit = ", %" if measure.percent else ""
    marks = ["dashed: full data"] * (reference is not None) + ["diamond: the paper"] * any(mark(row) is not None for row in rows)
    grid[-1].set_xlabel(f"{rows[0].judged_on} {measure.name}{unit}" + (f" ({', '.join(marks)})" if marks else ""))
    return figure


def _name(split: float) -> str:
    return f"{100 * split:.0f}/{100 * (1 - split):.0f}"


def _heading(split: float) -> str:
    if split == 0:
        return "only the full data"
    if split == 1:
        return f"only the subset ({_name(split)})"
    return f"{100 * split:.0f} % of the budget on the subset, then on the full data ({_name(split)})"


@picture
def loss_curves(metrics: pa.Table, runs: list[RunInfo], x: Literal["step", "seconds"]) -> Figure:
    """Training loss over steps or seconds: one line per row of the table, the mean over seeds, in a band from minimum to maximum.

    Lines are moving averages over 1/40 of a run's records. A line ends where its shortest run ends. The loss axis is logarithmic
    if the lines span more than a factor of 10.

    Raises:
        JobError: no run has a training loss.
    """
    losses = metrics.filter((pc.field("split") == "train") & (pc.field("name") == "loss")).sort_by("step")
    rows = by_row(runs)
    height = max(360, 60 + 17 * len(rows))  # 17 CSS pixels for the name of each line
    figure = blank(WIDTH, height)
    axes = figure.subplots()
    color, styles = colors(run.method for run in runs), dashes(runs)
    ends: list[End] = []
    span: list[float] = []
    lost: list[str] = []  # rows without a finite loss
    for row, group in rows.items():
        curves = [_curve(losses.filter(pc.field("run") == run.run), x) for run in group]
        curves = [curve for curve in curves if len(curve[0])]
        if not curves:
            continue
        at, values = resample(curves)
        mean, style = values.mean(axis=0), {"color": color[group[0].method], "linestyle": styles[group[0].split]}
        axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=style["color"], alpha=0.18, linewidth=0)
        axes.plot(at, mean, linewidth=1.5, marker="o" if len(at) == 1 else None, markersize=4, **style)
        finite = np.flatnonzero(np.isfinite(mean))
        if not len(finite):
            lost.append(row)
        else:
            name = shorten(row, 34) + (" (diverged)" if finite[-1] < len(mean) - 1 else "")
            ends.append((name, style["color"], float(at[finite[-1]]), float(mean[finite[-1]])))
            span += [float(mean[finite].min()), float(mean[finite].max())]
    if not ends and not lost:
        raise JobError("the metrics have no training loss (split=train, name=loss) of any run.")
    if lost:
        axes.set_title(shorten(f"never a finite loss: {', '.join(lost)}", 100), color=FAINT)
    if span and min(span) > 0 and max(span) > 10 * min(span):
        axes.set_yscale("log")
        from matplotlib.ticker import LogLocator, NullLocator

        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("step" if x == "step" else "seconds of training")
    axes.set_ylabel("training loss")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    label_ends(axes, ends, spacing=16.5 / (height - 50))
    return figure


def dashes(runs: list[RunInfo]) -> dict[float, Any]:
    """The line style of each split: solid for full data and for the subset alone, different dashes for those in between."""
    mixed = sorted({run.split for run in runs} - {0.0, 1.0}, reverse=True)
    kinds: list[Any] = ["--", ":", "-.", (0, (6, 1.5)), (0, (1, 3))]
    return {0.0: "-", 1.0: "-"} | {split: kinds[i % len(kinds)] for i, split in enumerate(mixed)}


def _curve(losses: pa.Table, x: str) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    at, values = losses[x].to_numpy().astype(float), losses["value"].to_numpy().astype(float)
    values = np.where(np.isfinite(values), values, np.nan)  # the line of a diverged run ends
    return at, moving_average(values, 40) if len(values) else values
