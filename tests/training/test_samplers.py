"""Which images a step sees."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsopt.training.samplers import shuffle


@given(n=st.integers(1, 40), batch=st.integers(1, 60), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_shuffle_shows_each_image_once_before_any_again(n: int, batch: int, seed: int) -> None:
    indices = shuffle(n, batch, seed)
    shown = torch.cat([indices(step) for step in range(6)])
    assert len(shown) == 6 * batch
    for start in range(0, len(shown) - n + 1, n):
        assert sorted(shown[start : start + n].tolist()) == list(range(n))
    assert torch.equal(indices(2), shuffle(n, batch, seed)(2))  # of the step alone


def test_seeds_and_epochs_differ() -> None:
    one, other = shuffle(100, 100, 0), shuffle(100, 100, 1)
    assert not torch.equal(one(0), one(1)) and not torch.equal(one(0), other(0))
