import io

import numpy as np
import pytest
from PIL import Image

from dsopt.reporting.lines import Point, accuracy_lines


def drawn(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def column(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a colour is, as columns of the picture."""
    return np.flatnonzero((np.abs(pixels - np.array(colour)).sum(axis=-1) < 6).any(axis=0))


BLUE = (0, 114, 178)  # of top_activation


@pytest.mark.parametrize(("values", "share"), [([0, 0.25, 1], 0.25), ([0.001, 0.01, 1.0], 1 / 3)])
def test_numbers_stand_at_their_place(values: list, share: float) -> None:
    points = [Point(value, 0.5, None) for value in values]
    line = accuracy_lines({"top_activation": points}, {}, "key")
    without_middle = accuracy_lines({"top_activation": [points[0], points[2]], "random": [points[1]]}, {}, "key")
    orange = (230, 159, 0)
    pixels = drawn(without_middle)[100:]  # below the legend
    ends, middle = column(pixels, BLUE), column(pixels, orange)
    assert (middle.mean() - ends.min() - 10) / (ends.max() - ends.min() - 20) == pytest.approx(share, abs=0.03)
    assert len(drawn(line)) == pytest.approx(len(pixels) + 100, abs=40)


def test_many_lines_references_and_hostile_names() -> None:
    series = {f"$\\frac{{<b>\n {i} " + "long " * 30: [Point(x, 0.1 * i, 0.02) for x in range(4)] for i in range(9)}
    drawn(accuracy_lines(series, {"full data": 0.5, "full data + choosing": 0.6}, "select.budget"))
    drawn(accuracy_lines({"one": [Point(1, 0.5, None)]}, {}, "x"))
    drawn(accuracy_lines({"one": [Point(value, 0.5, 0.1) for value in ("a", True, None, ["crop"])]}, {}, "x"))
    drawn(accuracy_lines({"one": [Point(0, float("nan"), None), Point(1, 0.5, 0.1)]}, {}, "x"))
