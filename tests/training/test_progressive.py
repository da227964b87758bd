"""Training that begins on small pictures: their sides over a run, and what a loop hands its learner."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dsopt.data.batches import Batch
from dsopt.registry import MODELS
from dsopt.training.loop import Phase, fit
from dsopt.training.progressive import growing, side, smaller


def test_sides_grow_in_steps_of_four_pixels_and_end_whole() -> None:
    share = growing(0.5)
    assert [side(32, share(progress / 10)) for progress in range(11)] == [16, 16, 20, 20, 24, 24, 28, 28, 32, 32, 32]
    assert side(30, 1.0) == 30 and side(30, 0.99) == 28 and side(30, 0.01) == 4
    assert growing(1.0)(0.0) == 1.0


def test_whole_pictures_are_as_they_were_and_small_ones_show_the_same() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert smaller(images, 1.0) is images
    assert smaller(images, 0.5).shape == (2, 3, 4, 4)
    torch.testing.assert_close(smaller(torch.full((1, 1, 8, 8), 0.3), 0.5), torch.full((1, 1, 4, 4), 0.3))


def test_a_loop_shows_every_phase_its_own_sides() -> None:
    sides: list[int] = []
    learner: Any = SimpleNamespace(networks={}, optimizers={}, device=torch.device("cpu"), state_dict=dict, load_state_dict=dict)
    learner.update = lambda batch: sides.append(batch.images.shape[-1]) or {"loss": torch.zeros(())}
    batch = Batch(torch.zeros(1, 1, 16, 16), torch.zeros(1, dtype=torch.int64), 0)
    growth = growing(0.25)
    phases = [Phase(lambda step: batch, lambda progress: 1.0, steps=4, scale=growth), Phase(lambda step: batch, growth, steps=2)]
    fit(learner, phases)
    assert sides == [4, 4, 8, 12, 16, 16]


@pytest.mark.parametrize("name", [name for name in MODELS.names() if getattr(MODELS.traits(name), "any_size", False)])
def test_networks_that_say_so_take_pictures_of_any_size(name: str) -> None:
    network: nn.Module = MODELS.build(name, {"width": 4})(3, 10)
    for pixels in (16, 24, 40):
        assert network.eval()(torch.zeros(1, 3, pixels, pixels)).shape == (1, 10)
