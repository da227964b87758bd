"""Neighbours of rows in parts: nearly all that there are, with exact distances, however the rows lie."""

from pathlib import Path

import pytest
import torch
from test_choose import shuffled_elsewhere, table, write

from dsopt.selection.choose import _rows_of_parts
from dsopt.selection.kernels.neighbours import nearest
from dsopt.selection.reading import NONE, keys_of
from dsopt.selection.streams import graph, rows
from dsopt.selection.streams.rows import RunParts

ROWS = 1200


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "TILE_ROWS", 300)
    monkeypatch.setattr(graph, "GATHERED_ROWS", 500)


def found(folder: Path, x: torch.Tensor, seed: int, run_parts: RunParts) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
    folder.mkdir()
    keys = keys_of(write(folder, table(order, torch.zeros(ROWS).long(), x[order]), [100 * seed, 900]))
    squared, others = torch.full((ROWS, 6), torch.nan), torch.full((ROWS, 6), -1)
    for places, distances, these in graph.neighbours(_rows_of_parts(keys, run_parts, "cpu", NONE), 6):
        squared[places], others[places] = distances, these
    return squared, others


def test_neighbours_in_parts(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 4, generator=generator) + 4 * torch.randn(20, 4, generator=generator).repeat(60, 1)
    x[1] = 1000  # a region of its own would hold no neighbours
    squared, others = found(tmp_path / "here", x, 1, map)
    assert (others != torch.arange(ROWS)[:, None]).all() and (squared.diff(dim=1) >= 0).all()
    torch.testing.assert_close((x[:, None] - x[others]).square().sum(2), squared)
    assert (others == nearest(x, 6)[1]).double().mean() > 0.97
    elsewhere = found(tmp_path / "elsewhere", x, 2, shuffled_elsewhere)
    assert torch.equal(elsewhere[0], squared) and torch.equal(elsewhere[1], others)


def test_as_few_rows_as_one_process_holds_are_compared_with_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "GATHERED_ROWS", ROWS)
    x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
    squared, others = found(tmp_path / "here", x, 1, map)
    expected = nearest(x, 6)
    assert torch.equal(squared, expected[0]) and torch.equal(others, expected[1])
