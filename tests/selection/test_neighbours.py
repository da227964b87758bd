"""Nearest neighbours compared with sorting all distances, and those among clusters with the exact ones."""

import pytest
import torch

from dsopt.selection.kernels import neighbours as module
from dsopt.selection.kernels.neighbours import nearest


def slow(embeddings: torch.Tensor, k: int) -> tuple[list[list[float]], list[list[int]]]:
    distances, indices = [], []
    for i, row in enumerate(embeddings):
        squared = (embeddings - row).square().sum(1).tolist()
        best = sorted((squared[j], j) for j in range(len(embeddings)) if j != i)[:k]
        distances.append([distance for distance, _ in best])
        indices.append([j for _, j in best])
    return distances, indices


def tables(rows: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    normal = torch.randn(rows, 5, generator=generator)
    return {
        "normal": normal,
        "ties": (normal * 1.5).round(),
        "duplicates": normal[torch.randint(rows, (rows,), generator=generator) // 3],
        "constant": torch.ones(rows, 5),
        "far from the origin": (normal * 16).round() / 16 + 4096,
        "with an outlier": torch.cat([normal[:-1], torch.full((1, 5), 1e4)]),
    }


@pytest.mark.parametrize("kind", tables(2))
@pytest.mark.parametrize(("rows", "k"), [(2, 1), (30, 29), (90, 7)])
def test_equals_sorting_all_distances(kind: str, rows: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 13 * rows)
    monkeypatch.setattr(module, "PAIRS", 101)
    embeddings = tables(rows)[kind]
    distances, indices = nearest(embeddings, k)
    expected_distances, expected = slow(embeddings, k)
    assert indices.tolist() == expected
    torch.testing.assert_close(distances, torch.tensor(expected_distances), rtol=1e-6, atol=0)


def test_nobody_has_no_neighbours_and_none_can_have_more_than_there_are() -> None:
    for rows in (1, 3):
        distances, indices = nearest(torch.randn(rows, 2), 0)
        assert distances.shape == indices.shape == (rows, 0)
    with pytest.raises(ValueError, match="3 rows do not have 3 others"):
        nearest(torch.randn(3, 2), 3)


def test_of_many_rows_nearly_all_are_found_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2500, 8, generator=generator)
    embeddings[2000:] = embeddings[:500]
    embeddings[:20] = embeddings[0]  # more alike than are asked for
    expected_distances, expected = nearest(embeddings, 10)
    monkeypatch.setattr(module, "EXACT_ROWS", 100)
    distances, indices = nearest(embeddings, 10)
    assert (indices != torch.arange(2500)[:, None]).all() and (distances.diff(dim=1) >= 0).all()
    assert (distances == expected_distances).double().mean() > 0.95
    assert (indices == expected).double().mean() > 0.95
    again = nearest(embeddings, 10)
    assert torch.equal(again[0], distances) and torch.equal(again[1], indices)
    some = torch.tensor([7, 2400, 30])
    assert torch.equal(nearest(embeddings, 10, some)[1], indices[some])


def test_where_clusters_hold_too_few_the_search_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    expected = nearest(embeddings, 399)
    monkeypatch.setattr(module, "EXACT_ROWS", 100)
    got = nearest(embeddings, 399)
    assert torch.equal(got[1], expected[1]) and torch.equal(got[0], expected[0])
    equal = nearest(torch.ones(120, 2), 3)  # one cluster holds all
    assert equal[0].eq(0).all() and equal[1][:5].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2]]
