"""Choosing further rows, given some: as a greedy method would have gone on, in memory and in passes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_choose import ROWS, SIZE, shuffled_elsewhere, table, write
from torch import Tensor

from dsopt.registry import SELECTORS
from dsopt.selection import facility_location, reading
from dsopt.selection.choose import choose
from dsopt.selection.streams import greedy, rows

CONTINUE = [name for name in SELECTORS.names() if SELECTORS.traits(name).continues]
NONE = torch.Generator()


@pytest.fixture
def data() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randperm(3 * ROWS, generator=generator)[:ROWS]
    return ids, torch.randint(3, (ROWS,), generator=generator), torch.randn(ROWS, SIZE, generator=generator)


def similar(x: Tensor, y: Tensor) -> Tensor:
    return (1 + torch.nn.functional.cosine_similarity(x.double()[:, None], y.double()[None], dim=2)) / 2


def plainly(name: str, x: Tensor, kept: Tensor, budget: int) -> list[int]:
    """The greedy algorithm, with every gain computed anew from the definition."""
    chosen: list[int] = []
    for _ in range(budget):
        taken = torch.cat([kept, x[chosen]])
        if name == "kcenter":
            gains = torch.cdist(x.double(), taken.double()).amin(1)
        elif name == "graph_cut":
            gains = similar(x, x).sum(1) - 2 * similar(x, taken).sum(1)
        else:
            gains = (similar(x, x) - similar(x, taken).amax(1)).clamp(min=0).sum(1)  # by how much each would represent all better
        gains[chosen] = -torch.inf
        chosen.append(int(gains.argmax()))
    return chosen


def test_these_continue() -> None:
    assert CONTINUE == ["facility_location", "graph_cut", "kcenter"]


@pytest.mark.parametrize("name", CONTINUE)
def test_a_method_continues_as_the_plain_algorithm_does(name: str, data: tuple[Tensor, ...]) -> None:
    _, labels, embeddings = data
    kept, others = embeddings[:20], embeddings[20:220]
    found = SELECTORS.build(name)(others, labels[20:220], 15, NONE, kept)
    assert found.indices.tolist() == plainly(name, others, kept, 15)
    alone = SELECTORS.build(name)(others, labels[20:220], 15, NONE)
    assert alone.indices.tolist() != found.indices.tolist()
    nothing = SELECTORS.build(name)(others, labels[20:220], 15, NONE, kept[:0])
    assert nothing.indices.tolist() == alone.indices.tolist()


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("shard_rows", [ROWS, 100])
def test_k_center_goes_on_where_it_ended(
    shard_rows: int, per_class: bool, data: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TILE_ROWS", 150)
    monkeypatch.setattr(greedy, "POOL_VALUES", 60 * SIZE)
    parts = write(tmp_path, table(*data), [130, 131, 400])
    once = choose(parts, "kcenter", {}, 30, per_class, 0)["id"].to_numpy()
    more = choose(parts, "kcenter", {}, 18, per_class, 0, shuffled_elsewhere, shard_rows=shard_rows, kept=np.sort(once[:12]))
    assert more["id"].to_pylist() == once[12:].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECTORS.names())
def test_what_is_kept_is_not_chosen_again(
    name: str, data: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if SELECTORS.traits(name).scores:
        return
    monkeypatch.setattr(facility_location, "CLUSTER_ROWS", 60)
    monkeypatch.setattr(reading, "BLOCK", 64 * SIZE)
    parts, kept = write(tmp_path, table(*data), [130, 400]), data[0][::7].sort().values.numpy()
    for shard_rows in (ROWS, 100):
        found = choose(parts, name, {}, 40, False, 5, shuffled_elsewhere, shard_rows=shard_rows, kept=kept)["id"].to_pylist()
        assert len(set(found)) == 40 and not set(found) & set(kept.tolist())
