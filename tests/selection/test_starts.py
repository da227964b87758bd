"""First centroids: as good as k-means++ in memory, the same however rows lie, and small groups far away are not missed."""

from pathlib import Path

import pytest
import torch
from test_choose import shuffled_elsewhere, table, write

from dsopt.selection.choose import choose
from dsopt.selection.kernels.clusters import cluster
from dsopt.selection.kmeans import kmeans as choose_by_kmeans
from dsopt.selection.streams import rows, starts
from dsopt.selection.streams.centroids import kmeans
from dsopt.selection.streams.rows import HeldRows


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spherical", [False, True])
def test_inertia_is_that_of_k_means_plus_plus_in_memory(spherical: bool) -> None:
    x = torch.randn(700, 5, generator=seeded(0)).relu() + 20 * torch.eye(5)[torch.randint(5, (700,), generator=seeded(1))]
    seen = torch.nn.functional.normalize(x) if spherical else x
    whole = [float(cluster(seen, 25, seeded(seed)).squared_distances.mean()) for seed in range(4)]
    found = [kmeans(HeldRows(x), 25, seeded(seed), start=starts.parallel, spherical=spherical) for seed in range(4)]
    assert sum(float(one.squared_distances.mean()) for one in found) < 1.03 * sum(whole)
    if spherical:
        torch.testing.assert_close(found[0].centroids.norm(dim=1), torch.ones(25))


def test_small_groups_far_from_all_others_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 groups of 2 rows among 4,000: a sample of 200 rows lacks most of them."""
    monkeypatch.setattr(starts, "SAMPLE", 4)
    monkeypatch.setattr(starts, "MIN_SAMPLE", 200)
    groups = torch.cat([torch.arange(30).repeat(132), torch.arange(30, 50).repeat(2)])
    x = 100 * torch.randn(50, 8, generator=seeded(0))[groups] + torch.randn(4000, 8, generator=seeded(1))

    def met(start: starts.Start) -> int:
        return len(groups[torch.cdist(start(HeldRows(x), 50, seeded(2)), x).argmin(1)].unique())

    assert met(starts.parallel) >= 45 and met(starts.of_sample) <= 35


def test_points_that_count_more_are_as_good_as_repeated_ones() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [9.0, 4.0]])
    weights = torch.tensor([1.0, 3.0, 1.0, 0.0])
    found = cluster(points, 2, seeded(0), weights=weights).centroids
    assert sorted(found.tolist()) == [[0.75, 0], [9, 0]]


def test_rows_are_drawn_where_they_are_far_and_know_their_nearest() -> None:
    x = torch.cat([torch.zeros(50, 2), torch.full((3, 2), 50.0), torch.tensor([[-80.0, 0.0]])])
    points, nearest = starts.drawn(HeldRows(x), x[:1], 10, seeded(0))
    assert len(points) == 11 and {tuple(row) for row in points.tolist()} == {(0, 0), (50, 50), (-80, 0)}
    assert torch.equal(points[nearest], x)
    assert all(len(starts.parallel(HeldRows(x), k, seeded(0))) == k for k in (1, 3, 53, 54))


@pytest.mark.parametrize("options", [{"start": "parallel"}, {"metric": "cosine"}])
def test_the_choice_depends_neither_on_the_parts_nor_on_the_workers(
    options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "TILE_ROWS", 150)
    x = torch.randn(400, 4, generator=seeded(0)).relu()
    data = torch.arange(400), torch.zeros(400).long(), x
    for folder in "ab":
        (tmp_path / folder).mkdir()
    one = choose(write(tmp_path / "a", table(*data), [170]), "kmeans", options, 20, False, 5, shard_rows=100)
    moved = write(tmp_path / "b", table(*(column[torch.randperm(400, generator=seeded(1))] for column in data)), [70, 200])
    assert choose(moved, "kmeans", options, 20, False, 5, shuffled_elsewhere, shard_rows=100) == one
    held = choose_by_kmeans(x, data[1], 20, seeded(5), **options)
    assert one["id"].to_pylist() == held.indices.tolist()
