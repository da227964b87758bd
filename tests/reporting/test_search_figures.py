"""The figures of a search show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from dsopt.reporting.search_figures import cell_graph, proxy_against_truth, reward_curve, search_progress


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def points(picture: np.ndarray) -> np.ndarray:
    """Where a picture is blue, as points are on white."""
    return (picture[..., 2] - picture[..., 0] > 80) & (picture[..., 1] > 80)


@pytest.mark.slow
@pytest.mark.parametrize("panels", [1, 3, 4])
def test_every_panel_has_its_points(panels: int) -> None:
    truth = np.linspace(0.2, 0.9, 30)
    picture = pixels(proxy_against_truth({f"proxy {i}": (truth * 0.9, 0.5) for i in range(panels)}, truth))
    rows = np.array_split(points(picture), -(-panels // 3))
    found = [part.sum() for row in rows for part in np.array_split(row, 3, axis=1)]
    assert [count > 200 for count in found] == [i < panels for i in range(len(found))]


@pytest.mark.slow
def test_titles_are_whole() -> None:
    """Proxies that differ in their steps alone are told apart, in the last column too, whose title nothing but the edge ends."""
    truth = np.linspace(0.2, 0.9, 30)

    def top(steps: int) -> np.ndarray:
        title = f"random_balanced 100, {steps} steps"
        return pixels(proxy_against_truth({f"{i}": (truth, 0.5) for i in range(2)} | {title: (truth, 0.5)}, truth))[:90]

    dark = np.nonzero((top(200) < 128).all(-1))[1]
    assert dark.max() < 2 * 760 - 4 and (top(200) != top(300)).any()


def test_parameters_are_on_a_logarithmic_scale() -> None:
    """Points at equal ratios are as far apart at the left as at the right."""
    picture = pixels(proxy_against_truth({"parameters": (np.geomspace(1e3, 1e6, 30), 0.5)}, np.linspace(0.2, 0.9, 30)))
    across = np.nonzero(points(picture))[1]
    assert abs(np.median(across) - (across.min() + across.max()) / 2) < 20


def test_within_a_power_of_ten_the_scale_is_linear() -> None:
    """A logarithmic one from 12k to 48k would have no number."""
    picture = pixels(proxy_against_truth({"parameters": (np.linspace(1.2e4, 4.8e4, 31), 0.5)}, np.linspace(0.2, 0.9, 31)))
    across = np.nonzero(points(picture))[1]
    assert abs(np.median(across) - (across.min() + across.max()) / 2) < 5


def test_the_others_draw_more_where_there_is_more() -> None:
    assert search_progress([0.1, None, 0.3]) != search_progress([0.1, None, 0.4])
    assert reward_curve([[0.1, 0.2]]) != reward_curve([[0.1, 0.3]])
    edges = [(0, 1), (0, 2), (1, 2)]
    assert cell_graph(edges, ["none", "skip", "conv"]) != cell_graph(edges, ["skip", "skip", "conv"])
