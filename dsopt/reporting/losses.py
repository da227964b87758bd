"""Every number that a training run reported, over its steps."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from dsopt.reporting.style import FAINT, INK, picture

WIDTH, HEIGHT = 760, 130  # in CSS pixels, of a panel
MARGIN = 50


@picture
def loss_panels(metrics: pa.Table) -> Figure:
    """A panel for each number of split "train", under one another, each on its own scale: the two sides of a game share none.

    Lines are moving averages over a twentieth of the records; these lie behind them, faint.
    """
    trained = metrics.filter(pc.field("split") == "train").sort_by("step")
    names = trained["name"].unique().to_pylist()
    figure = Figure(figsize=(WIDTH / 100, (HEIGHT * len(names) + MARGIN) / 100), layout="constrained")
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


def _smooth(values: np.ndarray) -> np.ndarray:
    window = np.ones(max(1, len(values) // 20))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
