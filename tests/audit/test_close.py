"""Pairs of close embeddings: all of them, as by comparing all with all."""

import pytest
import torch

from dsopt.audit import close
from dsopt.audit.close import median_nearest, pairs_closer


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-3, 5.0), (30.0, 1e3)])
def test_all_pairs_and_each_once(scale: float, offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close, "ROWS", 64)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=draw)
    x[250:400] = x[:150] + 0.05 * torch.randn(150, 8, generator=draw)
    x[400:410] = x[0]
    x = scale * x[torch.randperm(500, generator=draw)] + offset
    distances = torch.cdist(x.double(), x.double(), compute_mode="donot_use_mm_for_euclid_dist").triu(1)
    radius = float(distances[distances > 0].sort().values[300])
    expected = {tuple(pair) for pair in ((distances <= radius) & torch.ones(500, 500).triu(1).bool()).nonzero().tolist()}
    found = [(i, j) for a, b, _ in pairs_closer(x, radius * (1 + 1e-6)) for i, j in zip(a.tolist(), b.tolist(), strict=True)]
    assert len(found) == len(set(found)) and abs(len(found) - len(expected)) <= 1 and expected <= set(found)


def test_few_blocks_are_compared_where_the_bound_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close, "ROWS", 64)
    x = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    x[:, 0] *= 100
    assert len(list(pairs_closer(x, 0.1))) < 3 * 16 < 16 * 17 / 2 == len(list(pairs_closer(x, 1e6)))


def test_the_median_distance_to_the_nearest() -> None:
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.cdist(x, x).fill_diagonal_(torch.inf).amin(1).median()
    assert median_nearest(x) == pytest.approx(float(expected), rel=1e-5)
    assert median_nearest(x[:1]) == 0.0
