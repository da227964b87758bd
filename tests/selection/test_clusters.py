"""k-means compared with scikit-learn's, and properties of any clustering."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans, kmeans_plusplus

from dsopt.selection.kernels import clusters as module
from dsopt.selection.kernels.clusters import by_turns, cluster


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(centres: int, each: int, size: int) -> torch.Tensor:
    middle = 10 * torch.randn(centres, 1, size, generator=seeded(0))
    return (middle + 0.3 * torch.randn(centres, each, size, generator=seeded(1))).flatten(0, 1)


def scikit(rows: torch.Tensor, k: int, iterations: int, seed: int) -> float:
    first, _ = kmeans_plusplus(rows.numpy(), k, random_state=seed, n_local_trials=1)  # without its later, greedy improvement
    return KMeans(k, init=first, n_init=1, max_iter=iterations, tol=0).fit(rows.numpy()).inertia_


@pytest.mark.parametrize(("k", "rows"), [(7, 300), (40, 600), (200, 800)])  # few, and more than there are batches
def test_inertia_is_that_of_scikit_learn(k: int, rows: int) -> None:
    table = torch.randn(rows, 6, generator=seeded(3)).relu()
    ours = [float(cluster(table, k, seeded(seed), 10).squared_distances.sum()) for seed in range(8)]
    theirs = [scikit(table, k, 10, seed) for seed in range(8)]
    assert sum(ours) < 1.03 * sum(theirs)


def test_finds_clusters_that_are_there() -> None:
    table = blobs(12, 25, 4)
    best = min(float(cluster(table, 12, seeded(seed)).squared_distances.sum()) for seed in range(6))
    assert best == pytest.approx(min(scikit(table, 12, 25, seed) for seed in range(6)), rel=1e-4)


@pytest.mark.parametrize("k", [1, 5, 60])
def test_rows_are_with_their_nearest_centroid_and_centroids_in_the_middle(k: int) -> None:
    table = torch.randn(400, 5, generator=seeded(2))
    centroids, assignment, squared = cluster(table, k, seeded(0), 500)  # until it settles
    distances = torch.cdist(table.double(), centroids.double()).square()
    assert torch.allclose(squared.double(), distances.amin(1), atol=1e-5)
    assert torch.allclose(squared.double(), distances.gather(1, assignment[:, None]).squeeze(1), atol=1e-5)
    for c in range(k):
        assert torch.allclose(centroids[c], table[assignment == c].mean(0), atol=1e-5)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_cluster_is_empty_while_there_are_distinct_rows(data: st.DataObject) -> None:
    distinct = data.draw(st.integers(1, 40))
    copies = data.draw(st.integers(1, 6))
    table = torch.randn(distinct, 3, generator=seeded(distinct)).repeat(copies, 1)
    k = data.draw(st.integers(1, len(table)))
    centroids, assignment, squared = cluster(table, k, seeded(data.draw(st.integers(0, 9))), 50)
    assert centroids.shape == (k, 3) and centroids.isfinite().all()
    assert len(assignment.unique()) == min(k, distinct)
    if k >= distinct:
        assert squared.max() < 1e-9


def test_a_cluster_without_rows_takes_over_the_farthest() -> None:
    table = torch.tensor([[0.0], [0.1], [0.2], [9.0], [30.0]])
    centroids = torch.tensor([[0.1], [100.0], [200.0]])
    assignment, closeness = module._closest(table, centroids)
    squared = table.square().sum(1) - 2 * closeness
    assert squared.tolist() == pytest.approx([0.01, 0, 0.01, 79.21, 894.01], abs=1e-3)
    assert module._without_empty(assignment, squared, 3).tolist() in ([0, 0, 0, 1, 2], [0, 0, 0, 2, 1])


@given(seed=st.integers(0, 99), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_what_has_not_moved_need_not_be_compared(seed: int, share: float) -> None:
    generator = seeded(seed)
    table, centroids = torch.randn(80, 3, generator=generator), torch.randn(12, 3, generator=generator)
    moved = torch.rand(12, generator=generator) < share
    moved[seed % 12] = True
    now = centroids + moved[:, None] * torch.randn(12, 3, generator=generator)
    expected = torch.cdist(table, now).argmin(1)
    assignment, closeness = module._reassign(table, now, moved, *module._closest(table, centroids))
    assert torch.equal(assignment, expected)
    assert torch.allclose(closeness, (table * now[expected]).sum(1) - now[expected].square().sum(1) / 2, atol=1e-5)


def test_far_from_the_origin_is_as_good() -> None:
    """Squares of 10,000 leave float32 no digits for distances of 1."""
    table = blobs(5, 40, 3)
    here, there = cluster(table, 5, seeded(4)), cluster(table + 4096, 5, seeded(4))  # exactly representable
    assert torch.equal(here.assignment, there.assignment)
    assert torch.allclose(here.squared_distances, there.squared_distances, atol=5e-3)


def test_of_many_rows_a_sample_finds_the_centroids_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    table = blobs(6, 300, 3)
    whole = cluster(table, 6, seeded(0))
    monkeypatch.setattr(module, "SAMPLE", 10)
    monkeypatch.setattr(module, "MIN_SAMPLE", 64)  # also how many rows are assigned at once
    sampled = cluster(table, 6, seeded(0))
    assert len(sampled.assignment) == len(sampled.squared_distances) == len(table)
    assert sampled.squared_distances.sum() < 1.2 * whole.squared_distances.sum()
    assert torch.allclose((table - sampled.centroids[sampled.assignment]).square().sum(1), sampled.squared_distances)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.randn(200, 4, generator=seeded(0))
    whole = cluster(table, 9, seeded(0))
    monkeypatch.setattr(module, "BLOCK", 40)
    assert torch.equal(cluster(table, 9, seeded(0)).assignment, whole.assignment)


@pytest.mark.parametrize("k", [0, 4])
def test_refuses_a_number_of_clusters_that_cannot_be(k: int) -> None:
    with pytest.raises(ValueError, match=f"{k} clusters of 3"):
        cluster(torch.randn(3, 2), k, seeded(0))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 2)), min_size=1, max_size=30))
def test_by_turns_takes_the_worthiest_of_the_largest_first(rows: list[tuple[int, int]]) -> None:
    groups: dict[int, list[int]] = {}
    for row, (label, _) in enumerate(rows):
        groups.setdefault(label, []).append(row)
    by_size = sorted(groups, key=lambda label: (-len(groups[label]), label))
    queues = [sorted(groups[label], key=lambda row: (-rows[row][1], row)) for label in by_size]
    expected = [queue[turn] for turn in range(len(rows)) for queue in queues if turn < len(queue)]
    labels, worth = (torch.tensor(column) for column in zip(*rows, strict=True))
    assert by_turns(labels, worth.float()).tolist() == expected
