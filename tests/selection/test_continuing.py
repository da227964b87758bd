"""Choosing further rows, given some: as a greedy method would have gone on, in memory and in passes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_choose import ROWS, SIZE, shuffled_elsewhere, table, write
from torch import Tensor

from dsopt.errors import InputError
from dsopt.registry import SELECTORS
from dsopt.selection import facility_location, reading
from dsopt.selection.choose import choose
from dsopt.selection.streams import greedy, rows

CONTINUE = [name for name in SELECTORS.names() if SELECTORS.traits(name).continues]
GREEDY = [name for name in CONTINUE if not SELECTORS.traits(name).clusters]
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
    assert CONTINUE == ["facility_location", "graph_cut", "hierarchical_kmeans", "kcenter", "kmeans"]


@pytest.mark.parametrize("name", GREEDY)
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
    options = {"resamplings": 1} if name == "hierarchical_kmeans" else {}
    for shard_rows in (ROWS, 100):
        found = choose(parts, name, options, 40, False, 5, shuffled_elsewhere, shard_rows=shard_rows, kept=kept)["id"].to_pylist()
        assert len(set(found)) == 40 and not set(found) & set(kept.tolist())


def groups(each: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Groups of some rows each, far apart: which one each row is of, and the rows."""
    of = torch.arange(len(each)).repeat_interleave(torch.tensor(each))
    corners = 40 * torch.eye(len(each))
    return of, corners[of] + torch.randn(len(of), len(each), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_k_means_continues_where_nothing_was_chosen_yet(metric: str) -> None:
    of, x = groups([30] * 12)
    method, seed = SELECTORS.build("kmeans", {"metric": metric}), torch.Generator().manual_seed(1)
    first = method(x[of < 6], of[of < 6], 6, seed)
    others = torch.ones(360, dtype=torch.bool).index_fill(0, first.indices, False)
    assert first.centroids is not None
    for centroids in (None, first.centroids):  # from the kept images, or the centroids of before
        found = method(x[others], of[others], 6, seed, x[first.indices], centroids)
        assert sorted(of[others][found.indices].tolist()) == list(range(6, 12))
        assert found.centroids is not None and len(found.centroids) == 12
        assert torch.equal(torch.cdist(first.centroids, found.centroids).argmin(1), torch.arange(6))  # the same clusters


@pytest.mark.parametrize(("kept", "expected"), [(4, [6, 10, 10, 4]), (20, [0, 13, 13, 4])])
def test_kept_images_count_in_the_shares_of_their_clusters(kept: int, expected: list[int]) -> None:
    of, x = groups([50, 50, 50, 4])
    method = SELECTORS.build("hierarchical_kmeans", {"clusters": [4], "resamplings": 2})
    first = method(x, of, 16, torch.Generator().manual_seed(0))
    found = method(x[kept:], of[kept:], 30, torch.Generator().manual_seed(0), x[:kept], first.centroids)
    assert of[kept:][found.indices].bincount(minlength=4).tolist() == expected
    assert first.centroids is not None and found.centroids is not None  # the same clusters in the same order
    assert torch.equal(torch.cdist(found.centroids, first.centroids).argmin(1), torch.arange(4))


@pytest.mark.parametrize("name", ["hierarchical_kmeans", "kmeans"])
def test_continuing_depends_neither_on_the_parts_nor_on_the_workers(
    name: str, data: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TILE_ROWS", 150)
    options, before = {"clusters": [30, 5], "resamplings": 1} if name == "hierarchical_kmeans" else {}, list[Tensor]()
    for folder in "ab":
        (tmp_path / folder).mkdir()
    parts = write(tmp_path / "a", table(*data), [130, 400])
    first = choose(parts, name, options, 20, False, 0, shard_rows=100, keep=before.append)
    more = {"kept": np.sort(first["id"].to_numpy()), "centroids": before[0], "shard_rows": 100}
    one = choose(parts, name, options, 15, False, 0, **more)
    assert len(one) == 15 and not set(one["id"].to_pylist()) & set(first["id"].to_pylist())
    moved = write(tmp_path / "b", table(*(column[torch.arange(ROWS).flip(0)] for column in data)), [60])
    assert choose(moved, name, options, 15, False, 0, shuffled_elsewhere, **more) == one
    with pytest.raises(InputError, match=r"select\.extends: .* of 9 numbers, which are now 6"):
        choose(parts, name, options, 15, False, 0, kept=more["kept"], centroids=torch.zeros(5, 9))
    assert not choose(parts, name, options, 15, True, 0, keep=before.append)["id"].null_count and len(before) == 1
