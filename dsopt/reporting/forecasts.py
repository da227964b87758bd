"""Figures of forecasts: accuracy over images and over steps, with intervals and the pilots that they are made from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from dsopt.reporting.figures import WIDTH
from dsopt.reporting.style import Axes, Figure, blank, colors, picture, plain_log_ticks

Draws = Callable[[Float[np.ndarray, " m"], Float[np.ndarray, " m"]], Float[np.ndarray, "draws m"]]  # of images and images seen


class Point(NamedTuple):
    """A pilot; its way is None if it had all images."""

    way: str | None
    images: float
    steps: int
    accuracy: float


@picture
def over_images(drawn: Mapping[str, Draws], points: Sequence[Point], images: int, steps: int, batch: int) -> Figure:
    """The accuracy to expect after all steps over the number of images, a line and a band for each way to choose them."""
    figure, color = blank(WIDTH, 360), colors(drawn)
    axes = figure.subplots()
    at = np.geomspace(0.01 * images, images, 60)
    for name, draws in drawn.items():
        _band(axes, at, draws(at, np.full(len(at), float(steps * batch))), color[name], name)
    _finish(axes, figure, "training images", len(drawn))
    return figure


@picture
def over_steps(draws: Draws, points: Sequence[Point], way: str, images: int, steps: int, batch: int) -> Figure:
    """Accuracy over steps, a line and a band for every number of images that the pilots of a way have, and for all."""
    own = [point for point in points if point.way in (way, None)]
    sizes = sorted({point.images for point in own})
    figure = blank(WIDTH, 400)
    axes = figure.subplots()
    names = {size: f"{100 * size / images:g} %" for size in sizes}
    color = colors(names.values())
    at = np.geomspace(min(point.steps for point in own), 2 * steps, 60)
    for size in sizes:
        _band(axes, at, draws(np.full(len(at), size), at * batch), color[names[size]], names[size])
        mine = [point for point in own if point.images == size]
        axes.plot([p.steps for p in mine], [100 * p.accuracy for p in mine], "o", color=color[names[size]], markersize=4)
    axes.axvline(steps, color="#333333", linewidth=0.9, linestyle=(0, (3, 2)))
    _finish(axes, figure, "steps (dashed: a full training)", len(sizes))
    return figure


def _band(axes: Axes, at: Float[np.ndarray, " m"], draws: Float[np.ndarray, "draws m"], color: Any, name: str) -> None:
    low, middle, high = 100 * np.quantile(draws, [0.1, 0.5, 0.9], axis=0)
    axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(at, middle, color=color, linewidth=1.5, label=name)


def _finish(axes: Axes, figure: Figure, x: str, lines: int) -> None:
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.set_xlabel(x)
    axes.set_ylabel("held-out accuracy, %")
    axes.grid(axis="y")
    axes.margins(x=0.01)
    figure.legend(loc="outside upper left", ncols=min(5, lines), columnspacing=1.6)
