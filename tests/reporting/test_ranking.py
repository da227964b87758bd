"""The figures of a search show what they are given."""

import io

import numpy as np
import pytest
from PIL import Image

from dsopt.reporting.ranking import cell, progress, proxy_against_truth, rewards


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize("panels", [1, 3, 4])
def test_every_panel_has_its_points(panels: int) -> None:
    truth = np.linspace(0.2, 0.9, 30)
    picture = pixels(proxy_against_truth({f"proxy {i}": (truth * 0.9, 0.5) for i in range(panels)}, truth))
    toned = (picture[..., 2] - picture[..., 0] > 80) & (picture[..., 1] > 80)  # blue, as the points are on white
    rows = np.array_split(toned, -(-panels // 3))
    found = [part.sum() for row in rows for part in np.array_split(row, 3, axis=1)]
    assert [count > 200 for count in found] == [i < panels for i in range(len(found))]


def test_parameters_are_on_a_scale_of_their_own() -> None:
    truth = np.linspace(0.2, 0.9, 30)
    accuracies, counts = (proxy_against_truth({"one": (given, 0.5)}, truth) for given in (truth, np.geomspace(1e3, 1e6, 30)))
    assert accuracies != counts


def test_the_others_draw_more_where_there_is_more() -> None:
    assert progress([0.1, None, 0.3]) != progress([0.1, None, 0.4])
    assert rewards([[0.1, 0.2]]) != rewards([[0.1, 0.3]])
    edges = [(0, 1), (0, 2), (1, 2)]
    assert cell(edges, ["none", "skip", "conv"]) != cell(edges, ["skip", "skip", "conv"])
