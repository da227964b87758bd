"""Moderate coreset against a plain version."""

import statistics

import pytest
import torch

from dsopt.selection.moderate import moderate


@pytest.mark.parametrize("budget", [1, 10, 41])
def test_equals_the_slow_version(budget: int) -> None:
    generator = torch.Generator().manual_seed(0)
    table, labels = torch.randn(41, 3, generator=generator), torch.randint(3, (41,), generator=generator) * 5 - 2
    centres = {label: table[labels == label].mean(0) for label in labels.tolist()}
    distances = [float((row - centres[label]).norm()) for row, label in zip(table, labels.tolist(), strict=True)]
    middle = statistics.median(distances)  # an odd number: one of them
    expected = sorted(range(41), key=lambda i: (round(abs(distances[i] - middle), 6), i))[:budget]
    chosen = moderate(table, labels, budget, generator)
    assert chosen.indices.tolist() == expected
    assert chosen.scores.tolist() == pytest.approx([-abs(distances[i] - middle) for i in expected], abs=1e-5)


def test_equal_rows_go_by_row() -> None:
    assert moderate(torch.zeros(5, 2), torch.tensor([0, 1, 0, 1, 2]), 3, torch.Generator()).indices.tolist() == [0, 1, 2]
