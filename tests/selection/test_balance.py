import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dsopt.registry import SELECTORS
from dsopt.selection.balance import allocate, per_class


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.data())
def test_allocate_fills_like_water(counts: list[int], data: st.DataObject) -> None:
    budget = data.draw(st.integers(0, sum(counts)))
    expected = [0] * len(counts)
    for _ in range(budget):  # one by one to the emptiest class that can take more, the first of these
        able = [c for c in range(len(counts)) if expected[c] < counts[c]]
        expected[min(able, key=lambda c: (expected[c], c))] += 1
    assert allocate(counts, budget) == expected


def test_allocate_refuses_more_than_there_are() -> None:
    with pytest.raises(ValueError, match="7 of 6"):
        allocate([2, 4], 7)


@pytest.mark.parametrize("name", ["random", "top_activation"])
def test_every_prefix_of_a_choice_per_class_is_balanced(name: str) -> None:
    labels = torch.tensor([5] * 40 + [2] * 3 + [9] * 25)[torch.randperm(68, generator=torch.Generator().manual_seed(0))]
    embeddings = torch.randn(68, 4)
    chosen = per_class(SELECTORS.build(name), embeddings, labels, 60, torch.Generator())
    for length in range(61):
        taken = labels[chosen.indices[:length]]
        assert [int((taken == label).sum()) for label in (2, 5, 9)] == allocate([3, 40, 25], length)


def test_per_class_applies_the_selector_inside_each_class() -> None:
    labels, embeddings = torch.arange(60) % 3, torch.randn(60, 4)
    selector = SELECTORS.build("top_activation")
    chosen = per_class(selector, embeddings, labels, 21, torch.Generator())
    for label in range(3):
        rows = (labels == label).nonzero().squeeze(1)
        alone = selector(embeddings[rows], labels[rows], 7, torch.Generator())
        assert chosen.indices[label::3].tolist() == rows[alone.indices].tolist()
        assert torch.equal(chosen.scores[label::3], alone.scores)
