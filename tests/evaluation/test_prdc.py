"""Precision, recall, density and coverage by the sentences of their papers, pair by pair; and where the answer is known."""

import math

import pytest
import torch
from torch import Tensor

from dsopt.errors import InputError
from dsopt.evaluation import nearest, prdc


def by_hand(real: list[list[float]], made: list[list[float]], k: int) -> dict[str, float]:
    def radius(x: list[float], own: list[list[float]]) -> float:
        return sorted(math.dist(x, y) for y in own if y is not x)[k - 1]

    around_real, around_made = [radius(x, real) for x in real], [radius(x, made) for x in made]
    within = [[math.dist(x, y) < r for x, r in zip(real, around_real, strict=True)] for y in made]
    recalled = [any(math.dist(x, y) < r for y, r in zip(made, around_made, strict=True)) for x in real]
    covered = [min(math.dist(x, y) for y in made) < r for x, r in zip(real, around_real, strict=True)]
    return {
        "precision": sum(map(any, within)) / len(made),
        "recall": sum(recalled) / len(real),
        "density": sum(map(sum, within)) / (k * len(made)),
        "coverage": sum(covered) / len(real),
    }


def sets(n: int, m: int, shift: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, generator=generator), 0.8 * torch.randn(m, 3, generator=generator) + shift


@pytest.mark.parametrize("rows", [1024, 7])  # all in one block, or in many
@pytest.mark.parametrize("k", [1, 5])
def test_all_four_are_those_of_the_papers(k: int, rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prdc, "ROWS", rows)
    monkeypatch.setattr(nearest, "ROWS", rows)
    real, made = sets(60, 43, 1.5)
    found, expected = prdc.prdc(real, made, k), by_hand(real.double().tolist(), made.double().tolist(), k)
    assert found == pytest.approx(expected)
    assert all(0 < value < 1 for value in found.values())


@pytest.mark.long
@pytest.mark.slow
def test_known_answers_for_two_sets_of_normals(monkeypatch: pytest.MonkeyPatch):
    """What the README of Naeem et al. (2020) has for 10,000 in 1,000 dimensions; numbers differ with the draws.

    In float32, which is half the time: no two of these are so near that it matters.
    """

    def distances(a: Tensor, b: Tensor) -> Tensor:
        return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist").double()

    monkeypatch.setattr(nearest, "distances", distances)
    monkeypatch.setattr(prdc, "distances", distances)
    generator = torch.Generator().manual_seed(0)
    found = prdc.prdc(*(torch.randn(10_000, 1000, generator=generator) for _ in range(2)), 5)
    known = {"precision": 0.4772, "recall": 0.4705, "density": 1.0555, "coverage": 0.9735}
    for name, about in known.items():
        assert found[name] == pytest.approx(about, abs=0.03), name


def test_what_is_far_away_is_neither_precise_nor_covering():
    assert prdc.prdc(*sets(50, 50, 100.0)) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_one_image_made_again_and_again_is_precise_but_covers_nothing():
    real, _ = sets(100, 1, 0)
    found = prdc.prdc(real, real[:1].repeat(50, 1) + 1e-4 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    assert found["precision"] == 1 and found["coverage"] < 0.15 and found["recall"] < 0.05


def test_as_many_images_as_neighbours_are_too_few():
    with pytest.raises(InputError, match=r"measure.neighbours=5: needs more images than that; there are 60 and 5\."):
        prdc.prdc(*sets(60, 5, 0))
