import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsopt.registry import SELECTORS

MNIST = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def choose(labels: torch.Tensor, budget: int, seed: int = 0) -> torch.Tensor:
    return SELECTORS.build("stratified")(torch.empty(len(labels), 0), labels, budget, torch.Generator().manual_seed(seed)).indices


def of(counts: list[int]) -> torch.Tensor:
    """Labels 0, 3, 6, ... with the given class sizes, in random order."""
    labels = torch.cat([torch.full((count,), 3 * c) for c, count in enumerate(counts)])
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 15), min_size=1, max_size=5), st.integers(0, 9))
def test_a_smaller_budget_is_inside_a_larger_one_for_all_budgets(counts: list[int], seed: int) -> None:
    labels = of(counts)
    whole = choose(labels, len(labels), seed)
    assert sorted(whole.tolist()) == list(range(len(labels)))
    for budget in range(1, len(labels)):
        assert torch.equal(choose(labels, budget, seed), whole[:budget])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 8), st.data())
def test_shares_are_exact_wherever_they_are_whole_numbers(parts: list[int], times: int, data: st.DataObject) -> None:
    labels = of([times * part for part in parts])
    k = data.draw(st.integers(1, times))
    chosen = labels[choose(labels, k * sum(parts))]
    assert chosen.bincount(minlength=3 * len(parts))[::3].tolist() == [k * part for part in parts]


@functools.cache
def mnist() -> tuple[torch.Tensor, torch.Tensor]:
    labels = of(MNIST)
    return labels, labels[choose(labels, len(labels))] // 3


@pytest.mark.parametrize("percent", [1, 2, 5, *range(10, 101, 10)])
def test_the_papers_subsets_of_mnist_are_within_one_image_of_the_classes_shares(percent: int) -> None:
    labels, order = mnist()
    budget = 425 * percent
    shares = torch.tensor(MNIST) * budget / len(labels)
    assert (order[:budget].bincount(minlength=10) - shares).abs().max() < 1


def test_the_papers_subsets_of_cifar10_are_balanced() -> None:
    labels = torch.arange(50_000) % 10
    order = choose(labels, 42_500)
    for budget in (425 * percent for percent in (2, 10, 60, 100)):
        assert labels[order[:budget]].bincount().tolist() == [budget // 10] * 10
    assert labels[order[:425]].bincount().sort().values.tolist() == [42] * 5 + [43] * 5


def test_images_of_a_class_are_taken_by_chance() -> None:
    labels = torch.arange(60) % 3
    taken = torch.cat([choose(labels, 12, seed) for seed in range(400)]).bincount(minlength=60)
    assert (taken - 80).abs().max() < 45  # 400 x 12 / 60; 5.6 standard deviations
