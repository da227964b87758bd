"""Choosing in passes over parts: the answer does not depend on the parts or workers, and is that in memory, or nearly."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from synthetic_dynamics import matrix, synthetic_scores
from test_choose import ROWS, SIZE, equal, shuffled_elsewhere, table, write, write_scores

from dsopt import storage
from dsopt.registry import SELECTORS
from dsopt.selection import facility_location, reading
from dsopt.selection.balance import per_class
from dsopt.selection.choose import choose
from dsopt.selection.contract import passes_of
from dsopt.selection.kernels.distances import nearest_centroids
from dsopt.selection.streams import centroids, exact, graph, greedy, groups, rows, starts

IN_PASSES = [name for name in SELECTORS.names() if passes_of(name, {})]
EXACT = ["graph_cut", "kcenter", "moderate"]  # as in memory
CUTS = ([130, 130, 131, 400], [77, 250])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks, blocks, pools and clusters, although there are only 500 rows."""
    monkeypatch.setattr(reading, "BLOCK", 64 * SIZE)
    monkeypatch.setattr(rows, "TILE_ROWS", 150)
    monkeypatch.setattr(greedy, "POOL_VALUES", 120 * SIZE)
    monkeypatch.setattr(groups, "GATHERED_ROWS", 150)
    monkeypatch.setattr(graph, "GATHERED_ROWS", 300)
    monkeypatch.setattr(starts, "SAMPLE", 4)
    monkeypatch.setattr(starts, "MIN_SAMPLE", 100)
    monkeypatch.setattr(facility_location, "CLUSTER_ROWS", 60)
    monkeypatch.setattr(facility_location, "DENSE_ROWS", 90)


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randperm(3 * ROWS, generator=generator)[:ROWS]
    labels = torch.tensor([0, 0, 0, 1, 1, 7])[torch.randint(6, (ROWS,), generator=generator)]
    embeddings = (torch.randn(ROWS, SIZE, generator=generator) * 2).relu()
    embeddings[::5] = embeddings[::5].round()  # some ties
    return ids, labels, embeddings


def written(folder: Path, whole: pa.Table, cuts: list[int]) -> list[storage.Part]:
    folder.mkdir()
    return write(folder, whole, cuts)


def same(one: pa.Table, other: pa.Table) -> bool:
    scores = (some["score"].to_numpy() for some in (one, other))  # nan where there is none
    return one.drop(["score"]) == other.drop(["score"]) and np.array_equal(*scores, equal_nan=True)


def scores_of(name: str, ids: torch.Tensor, folder: Path) -> list[storage.Part]:
    columns = synthetic_scores(SELECTORS.traits(name).scores, ROWS, torch.Generator().manual_seed(4))
    return write_scores(folder / "scores", ids, columns) if columns else []


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PASSES)
def test_the_answer_depends_neither_on_the_parts_nor_on_the_workers(
    name: str, data: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    ids, labels, embeddings = data
    shuffled = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    first = written(tmp_path / "first", table(*data), CUTS[0])
    second = written(tmp_path / "second", table(*(column[shuffled] for column in data)), CUTS[1])
    scores = scores_of(name, ids, tmp_path)
    one = choose(first, name, {}, 60, False, 5, shard_rows=200, scores=scores)
    assert len(set(one["id"].to_pylist())) == 60 and set(one["id"].to_pylist()) <= set(ids.tolist())
    for parts in (first[::-1], second):
        assert same(choose(parts, name, {}, 60, False, 5, shuffled_elsewhere, shard_rows=200, scores=scores), one)
    if name in EXACT:
        order = ids.argsort()
        expected = SELECTORS.build(name)(embeddings[order], labels[order], 60, torch.Generator().manual_seed(5))
        assert equal(one, ids[order], expected)


@pytest.mark.parametrize(
    "name", ["d2", "facility_location", "grad_match", "kmeans", "max_distance", "stratified", "top_activation"]
)
def test_class_by_class_is_exactly_as_in_memory(name: str, data: tuple[torch.Tensor, ...], tmp_path: Path) -> None:
    """More rows than are held at once, but no class has more: the same draws for every method."""
    ids, labels, embeddings = data
    order, traits = ids.argsort(), SELECTORS.traits(name)
    looked_at = embeddings[order] if traits.embeddings else torch.empty(ROWS, 0)
    told = (some[order] for some in matrix(synthetic_scores(traits.scores, ROWS, torch.Generator().manual_seed(4))))
    expected = per_class(SELECTORS.build(name), looked_at, labels[order], 40, torch.Generator().manual_seed(5), *told)
    parts, scores = write(tmp_path, table(*data), CUTS[0]), scores_of(name, ids, tmp_path)
    largest = int(labels.unique(return_counts=True)[1].max())
    assert equal(choose(parts, name, {}, 40, True, 5, shuffled_elsewhere, shard_rows=largest, scores=scores), ids[order], expected)


def test_d2_in_passes_is_nearly_that_in_memory(data: tuple[torch.Tensor, ...], tmp_path: Path) -> None:
    parts, scores = write(tmp_path, table(*data), CUTS[0]), scores_of("d2", data[0], tmp_path)
    held, streamed = (
        choose(parts, "d2", {}, 60, False, 0, scores=scores, shard_rows=count)["id"].to_pylist() for count in (ROWS, 200)
    )
    assert len(set(held) & set(streamed)) > 50


@pytest.mark.parametrize("name", EXACT)
def test_a_class_larger_than_memory_is_chosen_from_in_passes(name: str, data: tuple[torch.Tensor, ...], tmp_path: Path) -> None:
    ids, labels, embeddings = data
    order = ids.argsort()
    expected = per_class(SELECTORS.build(name), embeddings[order], labels[order], 40, torch.Generator().manual_seed(5))
    parts = write(tmp_path, table(*data), CUTS[0])
    assert equal(choose(parts, name, {}, 40, True, 5, shuffled_elsewhere, shard_rows=100), ids[order], expected)


@pytest.mark.slow
@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("name", [name for name in SELECTORS.names() if not SELECTORS.traits(name).scores])
def test_rows_that_are_left_out_might_as_well_not_be_there(
    name: str, per_class: bool, data: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    """In memory, in states, in passes and in two rounds, also where all rows of a part are left out."""
    ids, out = data[0], torch.rand(ROWS, generator=torch.Generator().manual_seed(0)) < 0.3
    out[: CUTS[0][0]] = True
    whole, rest = written(tmp_path / "whole", table(*data), CUTS[0]), table(*(column[~out] for column in data))
    left = written(tmp_path / "left", rest, [])
    for shard_rows in (ROWS, 100):
        got, expected = (
            choose(parts, name, {}, 40, per_class, 5, shuffled_elsewhere, shard_rows=shard_rows, without=without)
            for parts, without in ((whole, ids[out].sort().values.numpy()), (left, reading.NONE))
        )
        assert not set(got["id"].to_pylist()) & set(ids[out].tolist())
        if shard_rows == ROWS or name in IN_PASSES:
            assert same(got, expected)


def test_sums_on_the_grid_are_the_same_in_any_order() -> None:
    values = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(-3, 1)
    distance = exact.step(float(values.abs().max()), 3000)
    whole = exact.on_grid(values, distance)
    sums = {tuple(whole[torch.randperm(3000)].cumsum(0)[-1].tolist()) for _ in range(5)}
    assert len(sums) == 1
    torch.testing.assert_close(whole.sum(0) * distance, values.double().sum(0), rtol=1e-9, atol=1e-7)


def test_nearest_centroids_are_exact_where_float32_is_not() -> None:
    """Centroids so near each other, and so far from the origin, that products in float32 cannot tell them apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=generator) + 300
    centres = x[:40] + 0.01 * torch.randn(40, 8, generator=generator)
    expected = (x.double()[:, None] - centres.double()).square().sum(2).argmin(1)
    assert torch.equal(nearest_centroids(x, centres), expected)
    naive = (centres.square().sum(1) / 2 - x @ centres.T).argmin(1)
    assert not torch.equal(naive, expected)  # or the test would show nothing


@pytest.mark.parametrize("spherical", [False, True])
def test_k_means_in_passes_is_as_good_as_in_memory(spherical: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "SAMPLE", 32)
    x = torch.randn(3000, 6, generator=torch.Generator().manual_seed(0))
    seen = torch.nn.functional.normalize(x) if spherical else x
    centres = centroids.cluster(seen, 30, torch.Generator().manual_seed(1)).centroids
    centres = torch.nn.functional.normalize(centres) if spherical else centres
    whole = torch.cdist(seen, centres).square().amin(1).mean()
    found = centroids.kmeans(rows.HeldRows(x), 30, torch.Generator().manual_seed(1), spherical=spherical)
    assert found.squared_distances.mean() < 1.03 * whole
    distances = torch.cdist(seen, found.centroids).square()
    assert torch.equal(distances.argmin(1), found.assignment)
    torch.testing.assert_close(found.squared_distances, distances.amin(1), rtol=1e-3, atol=1e-4)
    if spherical:
        torch.testing.assert_close(found.centroids.norm(dim=1), torch.ones(30))


@pytest.mark.parametrize("clusters", [[0, 1, 2, 3], [1, 3], [2], [3], []])
def test_every_cluster_is_worked_on_once_whichever_are_empty(
    clusters: list[int], data: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    """Such as in a second round, of some clusters alone; larger ones than a task holds among them."""
    ids, labels, embeddings = data
    parts = written(tmp_path / "parts", table(ids, labels, embeddings), CUTS[0])
    keys = reading.keys_of(parts)
    assignment = torch.tensor([*clusters, -1])[
        torch.randint(len(clusters) + 1, (ROWS,), generator=torch.Generator().manual_seed(5))
    ]
    for given in (rows.PartRows(keys.parts, keys.ids, keys.labels, SIZE), rows.HeldRows(embeddings[ids.argsort()])):
        found = list(groups.per_cluster(given, lambda x, own: (x.sum(0), own.unique().tolist()), assignment, assignment))
        assert sorted(own for _, (_, own) in found) == [[cluster] for cluster in clusters]
        for places, (total, (cluster,)) in found:
            assert torch.equal(places, (assignment == cluster).nonzero().squeeze(1))
            torch.testing.assert_close(total, embeddings[ids.argsort()][places].sum(0))


def test_large_clusters_are_divided_and_others_stay(data: tuple[torch.Tensor, ...]) -> None:
    embeddings = data[2]
    assignment = torch.arange(ROWS) // 90  # of 90 rows each, and a rest
    assignment[assignment >= 3] = 3
    found = facility_location._divided(rows.HeldRows(embeddings), assignment)
    pairs = {(old, new) for old, new in zip(assignment.tolist(), found.tolist(), strict=True)}
    assert len(pairs) == int(found.max()) + 1  # every new cluster lies within an old one, and none is empty
    assert [sum(old == cluster for old, _ in pairs) for cluster in range(4)] == [1, 1, 1, math.ceil((ROWS - 270) / 60)]
