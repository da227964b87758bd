"""The numbers that training runs reported, over their steps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsopt.reporting.style import FAINT, INK, Figure, blank, picture, shorten
from dsopt.reporting.tables import RunInfo, by_row

WIDTH, HEIGHT = 760, 130  # in CSS pixels, of a panel
MARGIN = 50
ACROSS = 3  # panels of rows side by side
SIDES = {"loss": INK, "generator_loss": "#d55e00"}


class Critic(NamedTuple):
    """A critic at the end of a training of so many steps, and the images that it judged.

    Args:
        estimate: of their distance from real ones, by the critic.
        measured: the same by a measure.
    """

    seed: int
    steps: int
    estimate: float
    measured: float


@picture
def loss_panels(metrics: pa.Table) -> Figure:
    """A panel for each number of split "train", under one another, each on its own scale: the two sides of a game share none.

    Lines are moving averages over a twentieth of the records; these lie behind them, faint.
    """
    trained = metrics.filter(pc.field("split") == "train").sort_by("step")
    names = trained["name"].unique().to_pylist()
    figure = blank(WIDTH, HEIGHT * len(names) + MARGIN)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        rows = trained.filter(pc.field("name") == name)
        steps, values = rows["step"].to_numpy(), rows["value"].to_numpy()
        axes.plot(steps, values, color=FAINT, linewidth=0.6, alpha=0.5)
        axes.plot(steps, _smooth(values), color=INK, linewidth=1.4, marker="o" if len(steps) == 1 else None, markersize=3)
        axes.set_title(name.replace("_", " "), color=FAINT)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(axis="y")
        axes.margins(x=0.01)
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    return figure


@picture
def sides_of_games(metrics: pa.Table, runs: list[RunInfo]) -> Figure:
    """A panel for each row of the table, on its own scale, as other games have other losses: those of its first run.

    Dark is the loss of the discriminator, or the only one there is; orange that of the generator.
    """
    from matplotlib.ticker import MaxNLocator

    rows = by_row(runs)
    down = -(-len(rows) // ACROSS)
    figure = blank(WIDTH, HEIGHT * down + MARGIN)
    panels = figure.subplots(down, ACROSS, squeeze=False).flatten()
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    for axes, (row, group) in zip(panels, rows.items(), strict=False):
        own = metrics.filter((pc.field("run") == group[0].run) & (pc.field("split") == "train")).sort_by("step")
        for name, colour in SIDES.items():
            found = own.filter(pc.field("name") == name)
            marker = "o" if len(found) == 1 else None
            axes.plot(found["step"].to_numpy(), found["value"].to_numpy(), color=colour, linewidth=1.1, marker=marker, markersize=3)
        axes.set_title(shorten(row, 36), color=FAINT)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(axis="y")
        axes.margins(x=0.01)
    return figure


@picture
def critics_against(panels: Mapping[str, Sequence[Critic]], measure: str) -> Figure:
    """A panel by title: what critics estimate against what is measured, told apart by their steps; a line for each seed."""
    from matplotlib.ticker import MaxNLocator

    down = -(-len(panels) // ACROSS)
    figure = blank(WIDTH, 230 * down + 20)
    grid = figure.subplots(down, ACROSS, squeeze=False).flatten()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, points) in zip(grid, panels.items(), strict=False):
        for seed in sorted({point.seed for point in points}):
            own = sorted((point for point in points if point.seed == seed), key=lambda point: point.steps)
            at = [point.estimate for point in own], [point.measured for point in own]
            axes.plot(*at, color="#0072b2", marker="o", markersize=3.5, linewidth=0.8)
            for point in own:
                where = (point.estimate, point.measured)
                axes.annotate(f"{point.steps:,}", where, (3, 3), textcoords="offset points", color=FAINT, fontsize=7)
        axes.set_title(shorten(title, 36), color=INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid()
        axes.margins(0.15)
        axes.tick_params(length=0)
    figure.supxlabel("distance by the critic, after the steps told", fontsize=8.5)
    figure.supylabel(measure, fontsize=8.5)
    return figure


def _smooth(values: np.ndarray) -> np.ndarray:
    window = np.ones(max(1, len(values) // 20))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
