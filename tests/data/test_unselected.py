"""Images held out of those that a subset leaves out."""

import pytest
import torch

from dsopt.data.holdout import unselected
from dsopt.data.images import Images
from dsopt.errors import InputError


def images(n: int) -> Images:
    ids = torch.arange(n) * 7
    return Images(ids, torch.zeros(n, 1, 2, 2, dtype=torch.uint8), ids % 3, None)


def test_they_are_outside_as_many_as_asked_and_mostly_the_same_for_nested_subsets() -> None:
    whole = images(1000)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    small, large = whole.ids[order[:100]], whole.ids[order[:700]]
    found = [set(unselected(whole, subset, 0.15, 3).ids.tolist()) for subset in (small, large)]
    assert [len(one) for one in found] == [150, 150]
    assert not found[0] & set(small.tolist()) and not found[1] & set(large.tolist())
    left = whole.ids[order[850:]]
    assert set(unselected(whole, whole.ids[order[:850]], 0.15, 3).ids.tolist()) == set(left.tolist())  # all that are left
    assert found[0] == set(unselected(whole, small, 0.15, 3).ids.tolist())
    assert found[0] != set(unselected(whole, small, 0.15, 4).ids.tolist())


def test_a_subset_of_everything_leaves_none() -> None:
    whole = images(10)
    with pytest.raises(InputError, match="the subset has all 10 images"):
        unselected(whole, whole.ids, 0.1, 0)
