"""Hierarchical k-means: equal shares at every level, and rare concepts that survive."""

import pytest
import torch

from dsopt.errors import InputError
from dsopt.registry import SELECTORS
from dsopt.selection.hierarchical_kmeans import _shares, hierarchical_kmeans


def test_shares_are_equal_at_every_level_and_a_small_cluster_s_rest_goes_to_its_neighbours() -> None:
    """Two top clusters of (100, 3) and (50, 50, 50) images: 20 each; the 3 are all taken, so 17 of the 100."""
    sizes, parent = torch.tensor([100, 3, 50, 50, 50]), torch.tensor([0, 0, 1, 1, 1])
    assert _shares(sizes, [parent], 40) == [17, 3, 7, 7, 6]
    assert _shares(sizes, [], 40) == [10, 3, 9, 9, 9]
    assert _shares(sizes, [parent, torch.tensor([0, 0])], 40) == [17, 3, 7, 7, 6]
    assert _shares(sizes, [parent], 253) == sizes.tolist()


@pytest.mark.parametrize("pick", ["random", "closest"])
def test_rare_concepts_get_as_much_as_frequent_ones(pick: str) -> None:
    """Six concepts, of which one has 9 in 10 images."""
    generator = torch.Generator().manual_seed(0)
    concept = torch.tensor([0] * 1800 + [1, 2, 3, 4, 5] * 40)
    table = 8 * torch.randn(6, 5, generator=generator)[concept] + torch.randn(2000, 5, generator=generator)
    options = {"clusters": [60, 6], "pick": pick}
    taken = SELECTORS.build("hierarchical_kmeans", options)(table, concept, 120, generator).indices
    assert concept[taken].bincount(minlength=6).min() >= 5  # random selection takes 2.4
    assert concept[taken].bincount()[0] <= 50  # and 108


def test_levels_must_fall() -> None:
    for wrong in ([], [3, 4], [50], [3, 0]):
        with pytest.raises(InputError, match="clusters="):
            hierarchical_kmeans(torch.randn(40, 3), torch.zeros(40).long(), 5, torch.Generator(), clusters=wrong)
