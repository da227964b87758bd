"""Which training images are held out."""

import pytest
import torch

from dsopt.data.holdout import held_out


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_about_the_share_is_held_out(share):
    assert float(held_out(torch.arange(20_000), share, 3).float().mean()) == pytest.approx(share, abs=0.01)


def test_it_is_a_matter_of_the_id_and_the_seed_alone():
    ids = torch.tensor([5, 2**62, 7, -3, 0, 11, 12])
    whole, order = held_out(ids, 0.5, 1), torch.tensor([3, 0, 6, 2])
    assert torch.equal(held_out(ids[order], 0.5, 1), whole[order])
    many = torch.arange(1000)
    assert not torch.equal(held_out(many, 0.5, 1), held_out(many, 0.5, 2))
    both = held_out(many, 0.5, 1) & held_out(many, 0.5, 2)
    assert float(both.float().mean()) == pytest.approx(0.25, abs=0.05)  # independent
    assert (held_out(many, 0.5, 1) | ~held_out(many, 0.3, 1)).all()  # a smaller share is a part of a larger one
