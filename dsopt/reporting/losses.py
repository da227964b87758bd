"""Figures of the losses that training runs reported, over their steps."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.reporting.curves import moving_average
from dsopt.reporting.style import FAINT, INK, Figure, blank, picture, shorten
from dsopt.reporting.tables import RunInfo, by_row

WIDTH, HEIGHT = 760, 130  # in CSS pixels, of a panel
MARGIN = 50
PANELS_PER_ROW = 3
LOSS_COLORS = {"loss": INK, "generator_loss": "#d55e00"}


class Critic(NamedTuple):
    """A GAN's critic after training, and the generated images that it evaluates.

    Args:
        steps: the number of training steps.
        estimate: the critic's estimate of the distance between generated and real images.
        measured: the same distance by a measure, such as the Fréchet distance.
    """

    seed: int
    steps: int
    estimate: float
    measured: float


@picture
def loss_panels(metrics: pa.Table) -> Figure:
    """One panel for each metric of split "train", one below the other.

    Each has its own scale, since losses of a generator and of a discriminator are not comparable. Lines are moving averages over
    1/20 of the records; the records themselves are drawn faintly behind them.
    """
    trained = metrics.filter(pc.field("split") == "train").sort_by("step")
    names = trained["name"].unique().to_pylist()
    figure = blank(WIDTH, HEIGHT * len(names) + MARGIN)
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        rows = trained.filter(pc.field("name") == name)
        steps, values = rows["step"].to_numpy(), rows["value"].to_numpy()
        axes.plot(steps, values, color=FAINT, linewidth=0.6, alpha=0.5)
        axes.plot(
            steps, moving_average(values, 20), color=INK, linewidth=1.4, marker="o" if len(steps) == 1 else None, markersize=3
        )
        axes.set_title(name.replace("_", " "), color=FAINT)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(axis="y")
        axes.margins(x=0.01)
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    return figure


@picture
def adversarial_losses(metrics: pa.Table, runs: list[RunInfo]) -> Figure:
    """One panel for each row of the table, with the losses of its first run.

    The discriminator's loss, or the only loss, is dark; the generator's is orange. Each panel has its own scale, since different
    adversarial losses are not comparable.
    """
    from matplotlib.ticker import MaxNLocator

    rows = by_row(runs)
    down = -(-len(rows) // PANELS_PER_ROW)
    figure = blank(WIDTH, HEIGHT * down + MARGIN)
    panels = figure.subplots(down, PANELS_PER_ROW, squeeze=False).flatten()
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    for axes, (row, group) in zip(panels, rows.items(), strict=False):
        own = metrics.filter((pc.field("run") == group[0].run) & (pc.field("split") == "train")).sort_by("step")
        for name, color in LOSS_COLORS.items():
            found = own.filter(pc.field("name") == name)
            marker = "o" if len(found) == 1 else None
            axes.plot(found["step"].to_numpy(), found["value"].to_numpy(), color=color, linewidth=1.1, marker=marker, markersize=3)
        axes.set_title(shorten(row, 36), color=FAINT)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(axis="y")
        axes.margins(x=0.01)
    return figure


@picture
def critic_estimates(panels: Mapping[str, Sequence[Critic]], measure: str) -> Figure:
    """One panel per title: the critics' estimates against the measured distance; one line per seed, points labelled with steps."""
    from matplotlib.ticker import MaxNLocator

    down = -(-len(panels) // PANELS_PER_ROW)
    figure = blank(WIDTH, 230 * down + 20)
    grid = figure.subplots(down, PANELS_PER_ROW, squeeze=False).flatten()
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
    figure.supxlabel("the critic's estimate of the distance, after the given number of steps", fontsize=8.5)
    figure.supylabel(measure, fontsize=8.5)
    return figure
