"""Curves of training runs: smoothed, resampled to common points, and labelled at their ends."""

import numpy as np
from jaxtyping import Float

from dsopt.reporting.style import Axes

End = tuple[str, str, float, float]  # name, color, x, y: the last point of a line, in data coordinates


def moving_average(values: Float[np.ndarray, " n"], fraction: int) -> Float[np.ndarray, " n"]:
    """The mean over a centered window of n / `fraction` values; at the borders, over the part of the window that exists."""
    window = np.ones(max(1, len(values) // fraction))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def resample(
    curves: list[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "k n"]]:
    """Interpolate curves (x, y) linearly at 400 common points, over the range of x that all of them cover."""
    start, stop = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    points = np.linspace(start, stop, 400) if stop > start else np.array([stop])
    return points, np.stack([np.interp(points, x, y) for x, y in curves])


def label_ends(axes: Axes, ends: list[End], spacing: float) -> None:
    """Write the name of each line to the right of the axes, in the order of their ends.

    Args:
        spacing: the height of a line of text, as a fraction of the height of the axes.
    """
    axes.autoscale_view()  # fixes the limits, so that transData below is final
    to_axes = axes.transData + axes.transAxes.inverted()
    points = [(*to_axes.transform((x, y)), name, color) for name, color, x, y in ends]
    points.sort(key=lambda point: point[1])
    heights = np.array([point[1] for point in points])
    for _ in range(1000):  # names that overlap push each other apart, by half of the overlap each, and stay beside the axes
        overlap = (spacing - np.diff(heights)).clip(0) / 2
        heights[:-1] -= overlap
        heights[1:] += overlap
        heights = heights.clip(0, 1)
    for height, (right, end, name, color) in zip(heights, points, strict=True):
        line = ([right, 1.015, 1.03], [end, height, height])
        axes.plot(*line, color=color, linewidth=0.7, alpha=0.6, transform=axes.transAxes, clip_on=False)
        axes.text(1.035, height, name, va="center_baseline", transform=axes.transAxes)
