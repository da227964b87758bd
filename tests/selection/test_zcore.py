"""ZCore compared with a plain version that draws the same points, and its parts with obvious versions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, triang

from dsopt.selection import zcore as module
from dsopt.selection.kernels import planes
from dsopt.selection.zcore import SHARED, zcore


def triangular(chance: float, low: float, peak: float, high: float) -> float:
    if chance * (high - low) < peak - low:
        return low + math.sqrt(chance * (high - low) * (peak - low))
    return high - math.sqrt((1 - chance) * (high - low) * (high - peak))


def slow(table: torch.Tensor, samples: int, neighbours: int, generator: torch.Generator) -> list[float]:
    """One point after the other, with all rows compared."""
    rows, size = table.shape
    planes = math.ceil(samples * rows / SHARED)
    generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
    first = torch.randint(size, (planes,), generator=generator)
    second = (first + torch.randint(1, max(size, 2), (planes,), generator=generator)) % size
    scores = np.zeros(rows)
    pairs, counts = np.unique(first.numpy() * size + second.numpy(), return_counts=True)
    for (a, b), count in zip([divmod(int(pair), size) for pair in pairs], counts.tolist(), strict=True):
        points = table[:, [a, b]].double().numpy()
        ends = [(points[:, j].min(), np.sort(points[:, j])[(rows - 1) // 2], points[:, j].max()) for j in (0, 1)]
        for chance in torch.rand(2, SHARED * count, generator=generator).T.tolist():
            place = [triangular(chance[j], *ends[j]) for j in (0, 1)]
            hit = int(np.abs(points - place).sum(1).argmin())
            scores[hit] += 1
            distances = np.abs(points - points[hit]).sum(1)
            others = sorted((i for i in range(rows) if i != hit), key=lambda i: distances[i])[:neighbours]
            if others and distances[others[0]] == 0:
                coincident = [i for i in others if distances[i] == 0]
                scores[coincident] -= 1 / len(coincident)
            elif others:
                nearness = distances[others] ** -4.0
                scores[others] -= nearness / nearness.sum()
    return scores.tolist()


@pytest.mark.parametrize(
    ("rows", "size", "kind", "neighbours"),
    [(40, 5, "normal", 50), (40, 5, "normal", 4), (300, 3, "normal", 10), (40, 2, "relu", 50), (50, 3, "pairs", 50)],
)
def test_equals_the_slow_version(rows: int, size: int, kind: str, neighbours: int) -> None:
    normal = torch.randn(rows, size, generator=torch.Generator().manual_seed(rows))
    table = {"normal": normal, "relu": normal.relu(), "pairs": normal[: rows // 2].repeat_interleave(2, 0)}[kind]
    expected = slow(table, 6, neighbours, torch.Generator().manual_seed(1))
    chosen = zcore(table, torch.zeros(rows).long(), rows, torch.Generator().manual_seed(1), samples=6, neighbours=neighbours)
    assert chosen.scores.tolist() == pytest.approx([expected[i] for i in chosen.indices.tolist()], abs=2e-4)
    assert chosen.scores.tolist() == sorted(chosen.scores.tolist(), reverse=True)


@settings(max_examples=60, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=40),
    places=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=5),
    data=st.data(),
)
def test_the_nearest_are_the_nearest_however_they_lie(
    points: list[tuple[int, int]], places: list[tuple[float, float]], data: st.DataObject
) -> None:
    most = data.draw(st.integers(1, len(points)))
    table = torch.tensor(sorted(points, key=lambda point: point[0])).float()
    compare(table, torch.tensor(places, dtype=torch.float32), most, data.draw(st.integers(1, most)))


def compare(table: torch.Tensor, places: torch.Tensor, most: int, count: int) -> None:
    """With all distances, of which stable sorting leaves equal ones in the order of place."""
    (x, y), (at_x, at_y) = table.T.contiguous(), places.T.contiguous()
    distances, found = planes.nearest(planes.plane(x, y, y.sort(stable=True).indices.int(), most), at_x, at_y, count)
    expected = ((x - at_x[:, None]).abs() + (y - at_y[:, None]).abs()).sort(dim=1, stable=True)
    assert torch.equal(distances, expected.values[:, :count])
    assert torch.equal(found, expected.indices[:, :count])


@pytest.mark.parametrize("kind", ["normal", "relu", "sparse", "whole", "two lines", "copies", "constant"])
@pytest.mark.parametrize("count", [1, 21])
def test_the_nearest_of_many(kind: str, count: int) -> None:
    """Of some thousands, so that windows and strips hold few of them; at points, beside them and far outside."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(3000, 2, generator=generator)
    table = {
        "normal": normal,
        "relu": normal.relu(),
        "sparse": (normal - 2).relu(),
        "whole": (4 * normal).round(),
        "two lines": normal.sign() * torch.tensor([1.0, 0.0]) + normal * torch.tensor([0.0, 1.0]),
        "copies": normal[:100].repeat(30, 1),
        "constant": torch.zeros(3000, 2),
    }[kind]
    table = table[table[:, 0].argsort(stable=True)]
    places = torch.cat([table[::20], table[::50] + 0.01, 3 * torch.randn(100, 2, generator=generator)])
    compare(table, places, 21, count)


def test_few_points_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """At any of many points half of whose coordinates are zero, and of which all but a few hundred coincide."""
    looked_at, whole = [], planes.Points.windows

    def windows(self: planes.Points, start: torch.Tensor, size: int, *at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        looked_at.append(start.numel() * size)
        return whole(self, start, size, *at)

    monkeypatch.setattr(planes.Points, "windows", windows)
    normal = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    for table in (normal.relu(), normal.round(), (normal - 2.5).relu()):
        x, y = table[table[:, 0].argsort(stable=True)].T.contiguous()
        at_x, at_y = x[::10].contiguous(), y[::10].contiguous()
        planes.nearest(planes.plane(x, y, y.sort(stable=True).indices.int(), 21), at_x, at_y, 21)
    assert sum(looked_at) < 3 * 2000 * 1000


def test_places_are_triangularly_distributed() -> None:
    chance = torch.rand(2, 4000, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[[-1.0], [0.0]], [[2.0], [0.0]], [[3.0], [8.0]]])  # (-1, 2, 3) and (0, 0, 8)
    places = module._triangular(chance, corners)
    assert kstest(places[0].numpy(), triang(c=3 / 4, loc=-1, scale=4).cdf).pvalue > 0.01
    assert kstest(places[1].numpy(), triang(c=0, loc=0, scale=8).cdf).pvalue > 0.01
    constant = module._triangular(chance, torch.full((3, 2, 1), 5.0))
    assert (constant == 5).all()


def test_prefers_images_that_stand_apart() -> None:
    """Of 90 rows close together and 10 scattered ones, the scattered ones cover more and have no redundant neighbours."""
    generator = torch.Generator().manual_seed(0)
    heap = 0.02 * torch.randn(90, 4, generator=generator)
    scattered = 4 * torch.randn(10, 4, generator=generator)
    chosen = zcore(torch.cat([heap, scattered]), torch.zeros(100).long(), 10, generator)
    assert (chosen.indices >= 90).sum() >= 8


@pytest.mark.long
@pytest.mark.slow
def test_two_seeds_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    shared = []
    for least in (0, 200_000):
        monkeypatch.setattr(module, "DRAWS", least)
        one, other = (zcore(table, torch.zeros(300).long(), 100, torch.Generator().manual_seed(s)).indices for s in (1, 2))
        shared.append(len(set(one.tolist()) & set(other.tolist())))
    assert shared[1] >= 80 > shared[0]  # of two random selections, 33


def test_equal_rows_go_by_row() -> None:
    chosen = zcore(torch.zeros(6, 3), torch.zeros(6).long(), 1, torch.Generator())
    assert chosen.indices.tolist() == [0]
