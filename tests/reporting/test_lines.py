import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from dsopt.reporting.lines import _apart, lines, table
from dsopt.reporting.tables import Measure, Spread


def drawn(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def column(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Where a color is, as columns of the picture."""
    return np.flatnonzero((np.abs(pixels - np.array(color)).sum(axis=-1) < 6).any(axis=0))


BLUE = (0, 114, 178)  # of top_activation


@pytest.mark.parametrize(("values", "share"), [([0, 0.25, 1], 0.25), ([0.001, 0.01, 1.0], 1 / 3)])
def test_numbers_stand_at_their_place(values: list, share: float) -> None:
    first, middle, last = ({value: Spread(0.5, None)} for value in values)
    line = lines({"top_activation": first | middle | last}, {}, "key")
    without_middle = lines({"top_activation": first | last, "random": middle}, {}, "key")
    orange = (230, 159, 0)
    pixels = drawn(without_middle)[100:]  # below the legend
    ends, middle = column(pixels, BLUE), column(pixels, orange)
    assert (middle.mean() - ends.min() - 10) / (ends.max() - ends.min() - 20) == pytest.approx(share, abs=0.03)
    assert len(drawn(line)) == pytest.approx(len(pixels) + 100, abs=40)


@pytest.mark.parametrize(("values", "joined"), [((1, 2), True), (("kcenter", "ccs"), False)])
def test_numbers_are_joined_and_words_are_not(values: tuple, joined: bool) -> None:
    columns = column(drawn(lines({"top_activation": {value: Spread(0.5, None) for value in values}}, {}, "key"))[100:], BLUE)
    assert (np.diff(columns).max() < 5) == joined


def test_labels_do_not_touch() -> None:
    sizes = [425, 850, 2125, 4250, *range(8500, 42501, 4250)]
    shown = _apart([float(size) for size in sizes], True)
    assert [label for label in shown if label] == ["425", "850", "2,125", "4,250", "8,500", "17,000", "25,500", "42,500"]
    assert all(_apart([0.0, 0.25, 0.5, 1.0], False)) and _apart([3.0], False) == ["3"]


def test_lines_of_one_color_have_other_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    errorbar = Axes.errorbar
    monkeypatch.setattr(Axes, "errorbar", lambda *a, **k: seen.append((k["color"], k["marker"])) or errorbar(*a, **k))
    lines({f"row {i}": {x: Spread(0.5, None) for x in (1, 2)} for i in range(14)}, {}, "key")
    assert len(set(seen)) == 14


@pytest.mark.slow
def test_many_lines_references_and_hostile_names() -> None:
    series = {f"$\\frac{{<b>\n {i} " + "long " * 30: {x: Spread(0.1 * i, 0.02) for x in range(4)} for i in range(9)}
    drawn(lines(series, {"full data": 0.5, "full data + choosing": 0.6}, "select.budget"))
    drawn(lines({"one": {1: Spread(0.5, None)}}, {}, "x"))
    drawn(lines({"one": {value: Spread(0.5, 0.1) for value in ("a", True, None, "['crop']")}}, {}, "x"))
    drawn(lines({"one": {0: Spread(float("nan"), None), 1: Spread(0.5, 0.1)}}, {}, "x"))


def test_the_same_as_a_table() -> None:
    series = {"NONE": {100: Spread(0.5, 0.01), 1000: Spread(0.75, 0.0025)}, "BLUR": {1000: Spread(0.8125, None)}}
    assert table(series, "select.budget") == (
        ["accuracy % over select.budget", "100", "1000"],
        [["NONE", "50.00 ± 1.00", "75.00 ± 0.25"], ["BLUR", "", "81.25       "]],
    )
    distance = Measure("fcd", "", higher=False)
    assert table({"WGAN": {"a": Spread(123.456, 1.26)}, "DCGAN": {"a": Spread(9.87, 0.5)}}, "x", distance)[1] == [
        ["WGAN", "123.5 ± 1.3"],
        ["DCGAN", "9.9 ± 0.5"],
    ]
    drawn(lines({"WGAN": {1: Spread(123.4, 1.0)}}, {}, "x", distance))
