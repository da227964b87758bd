"""Figures of an architecture search: proxies against true accuracy, progress, a controller's rewards, and the cell found."""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from dsopt.reporting.curves import moving_average
from dsopt.reporting.style import FAINT, INK, Figure, blank, colors, picture, shorten

WIDTH = 760  # in CSS pixels
PANELS_PER_ROW = 3
TITLE_CHARACTERS = 30  # that fit above a panel, per line


@picture
def proxy_against_truth(panels: Mapping[str, tuple[Float[np.ndarray, " n"], float]], truth: Float[np.ndarray, " n"]) -> Figure:
    """One panel per proxy, one point per child: the proxy's values against the true accuracies.

    Values of at most 1 are taken for accuracies and shown in percent, others are shown on a logarithmic axis.

    Args:
        panels: by title, the proxy's value of each child, and Spearman's correlation with the truth.
        truth: the true accuracy of each child, in 0..1.
    """
    from matplotlib.ticker import EngFormatter, NullFormatter

    down = max(1, math.ceil(len(panels) / PANELS_PER_ROW))
    figure = blank(WIDTH, 265 * down + 10)
    grid = figure.subplots(down, PANELS_PER_ROW, squeeze=False).flatten()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, (given, rho)) in zip(grid, panels.items(), strict=False):
        share = given.max() <= 1
        axes.scatter(100 * given if share else given, 100 * truth, s=11, color="#0072b2", alpha=0.65, linewidth=0)
        if not share:
            if np.nanmax(given) > 10 * np.nanmin(given):  # within a factor of 10, a logarithmic axis may have no label at all
                axes.set_xscale("log")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # "10k": the default, 10^4, is math text, which the style disables
            axes.xaxis.set_minor_formatter(NullFormatter())
        # Wrapped, not cut: proxies may differ in their last words only, the number of steps.
        axes.set_title(f"{textwrap.fill(shorten(title, 2 * TITLE_CHARACTERS), TITLE_CHARACTERS)}\nρ {rho:.2f}", color=INK)
        axes.grid()
        axes.tick_params(length=0)
    figure.supxlabel("by the proxy (accuracies in %)", fontsize=8.5)
    figure.supylabel("true accuracy, %", fontsize=8.5)
    return figure


@picture
def search_progress(accuracies: Sequence[float | None]) -> Figure:
    """The accuracy of every child in the order of the search, without those that failed, and the best so far."""
    values = np.array([math.nan if value is None else 100 * value for value in accuracies])
    figure = blank(WIDTH, 300)
    axes = figure.subplots()
    color = colors(["full", "top_activation"])
    numbers = np.arange(1, len(values) + 1)
    axes.scatter(numbers, values, s=11, color=color["full"], alpha=0.7, linewidth=0, label="a child")
    best = np.fmax.accumulate(values)
    axes.step(numbers, best, where="post", color=color["top_activation"], linewidth=1.5, label="the best so far")
    axes.set_xlabel("child")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)  # above the axes, where there are no points
    return figure


@picture
def reward_curve(rewards: Sequence[Sequence[float]]) -> Figure:
    """The controller's mean rewards (step, accuracy in 0..1), and their moving average over 1/10 of them."""
    steps, values = (np.array(column, dtype=float) for column in zip(*rewards, strict=True))
    smooth = moving_average(values, 10)
    figure = blank(WIDTH, 260)
    axes = figure.subplots()
    axes.scatter(steps, 100 * values, s=6, color=FAINT, linewidth=0)
    axes.plot(steps, 100 * smooth, color="#0072b2", linewidth=1.5)
    axes.set_xlabel("step")
    axes.set_ylabel("held-out accuracy, %")
    axes.grid(axis="y")
    return figure


@picture
def cell_graph(edges: Sequence[tuple[int, int]], operations: Sequence[str]) -> Figure:
    """A cell as a graph: its nodes in a row, an arc for every edge (to, from); an edge with the operation "none" is dotted."""
    nodes = 1 + max(to for to, _ in edges)
    figure = blank(WIDTH, 340)
    axes = figure.subplots()
    color = colors(operations)
    for (to, source), name in zip(edges, operations, strict=True):
        span, side = to - source, 1 if (to + source) % 2 or to - source > 2 else -1
        angles = np.linspace(np.pi, 0, 40)
        xs, ys = (to + source) / 2 + span / 2 * np.cos(angles), side * 0.42 * (span - 1) * np.sin(angles)
        none = name == "none"
        axes.plot(
            xs, ys, color=FAINT if none else color[name], linewidth=1 if none else 2.2, linestyle=":" if none else "-", zorder=1
        )
        top = side * 0.42 * (span - 1)
        axes.text((to + source) / 2, top + 0.07, name, ha="center", va="bottom", color=FAINT if none else INK)
    for node in range(nodes):
        name = "in" if node == 0 else "out" if node == nodes - 1 else str(node)
        axes.scatter([node], [0], s=420, color="white", edgecolor=INK, zorder=2)
        axes.text(node, 0, name, ha="center", va="center_baseline", zorder=3)
    axes.set_xlim(-0.4, nodes - 0.6)
    axes.set_ylim(-0.75, 1.15)
    axes.set_axis_off()
    return figure
