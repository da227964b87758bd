"""No figure shows the source of a formula where a number should stand."""

import numpy as np
import pytest
from test_targets import measured, metrics, run

from dsopt.reporting import forecasts, style
from dsopt.reporting.targets import accuracy_curves


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels below the axes of all figures that are drawn."""
    found, rendered = list[str](), style.rendered

    def looked_at(figure: style.Figure) -> bytes:
        picture = rendered(figure)
        for axes in figure.axes:
            labels = (*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both"))
            found.extend(label.get_text() for label in labels if label.get_text())
        return picture

    monkeypatch.setattr(style, "rendered", looked_at)
    return found


def test_forecasts(texts: list[str]) -> None:
    def draws(images: np.ndarray, seen: np.ndarray) -> np.ndarray:
        return np.tile(1 - 0.5 * seen**-0.1, (5, 1)) + 0.01 * np.arange(5)[:, None]

    points = [forecasts.Point(None, 1445, steps, 0.5) for steps in (14, 28, 56)]
    forecasts.over_steps(draws, points, "random", 1445, 400, 32)
    forecasts.over_images({"random": draws}, points, 1445, 400, 32)
    assert {"50", "100", "200"} <= set(texts) and not any("$" in text for text in texts)


def test_times_to_a_target(texts: list[str]) -> None:
    rows = metrics([*measured("a", [0.5, 0.8]), *measured("b", [0.5, 0.9])])
    accuracy_curves(rows, [run("a", "a"), run("b", "b", choosing=900.0)], 0.6)
    assert {"100"} <= set(texts) and not any("$" in text for text in texts)
