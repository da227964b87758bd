"""What every registered sampler promises; a new one is tested by being there."""

import io
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dsopt.data.batches import Batch
from dsopt.registry import SAMPLERS
from dsopt.training.loop import Stateful
from dsopt.training.samplers.contract import BatchIndices, FilteringSampler, LossAwareSampler, Sampler, Score

NAMES = SAMPLERS.names()
STEPS = 30


class Pretended:
    """A small classifier whose losses differ after every step."""

    def __init__(self, width: int) -> None:
        self.steps = 0

    def losses(self, batch: Batch) -> Tensor:
        return (batch.labels * 7919 + self.steps * 31).remainder(101).float()

    def update(self, batch: Batch) -> dict[str, Tensor]:
        self.steps += 1
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


def make(name: str, n: int, batch_size: int, seed: int = 0) -> Sampler:
    traits, generator = SAMPLERS.traits(name), torch.Generator().manual_seed(n)
    more: list[Any] = [STEPS] if traits.steps else []
    more += [{score: torch.rand(n, generator=generator) + 0.01 for score in get_args(Score)}] if traits.scores else []
    more += [Pretended] if traits.small_classifier else []
    return SAMPLERS.build(name)(n, batch_size, seed, *more)


def take_step(sampler: Sampler, step: int) -> BatchIndices:
    """What is trained on in a step; a sampler that learns is told losses, the higher the higher the index."""
    draw = sampler(step)
    if isinstance(sampler, FilteringSampler):
        kept = sampler.keep(Batch(draw.indices[:, None, None, None].float(), draw.indices, step))
        assert torch.equal(kept.images.flatten().long(), kept.labels) and kept.weights is None
        assert torch.isin(kept.labels, draw.indices).all()
        return BatchIndices(kept.labels)
    if isinstance(sampler, LossAwareSampler):
        sampler.observe(draw.indices, draw.indices / 10 + 1 / (step + 1))
    return draw


def alike(one: BatchIndices, other: BatchIndices) -> bool:
    weights = one.weights is other.weights is None or torch.equal(one.weights, other.weights)  # type: ignore[arg-type]
    return torch.equal(one.indices, other.indices) and weights


def test_there_are_those_of_the_papers():
    assert {"shuffle", "rs2", "infobatch", "weighted", "easy_to_hard", "loss_topk"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(n=st.integers(1, 40), batch_size=st.integers(1, 60))
@settings(deadline=None, max_examples=20)
def test_a_sampler_gives_full_batches_of_images_that_there_are(name, n, batch_size):
    sampler = make(name, n, batch_size)
    for step in range(5):
        indices, weights = take_step(sampler, step)
        assert indices.shape == (batch_size,) and indices.dtype == torch.int64
        assert int(indices.min()) >= 0 and int(indices.max()) < n
        if weights is not None:
            assert weights.shape == (batch_size,) and weights.dtype == torch.float32 and (weights > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_gives_the_same_for_the_same_seed_and_another_for_another(name):
    draws = [[take_step(sampler, step) for step in range(9)] for sampler in (make(name, 50, 8), make(name, 50, 8))]
    assert all(map(alike, *draws))
    other = make(name, 50, 8, seed=1)
    assert not alike(take_step(other, 0), draws[0][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_gives_the_same_again_when_it_is_asked_again(name):
    sampler = make(name, 20, 8)
    for step in range(7):
        first, again = sampler(step), sampler(step)
        assert alike(first, again)
        take_step(sampler, step)


@pytest.mark.parametrize("at", [1, 4, 7, 20])
@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_goes_on_from_its_state(name, at):
    whole, resumed = make(name, 20, 8), make(name, 20, 8)
    for step in range(at):
        take_step(whole, step)
    if isinstance(whole, Stateful):  # as a checkpoint keeps it
        buffer = io.BytesIO()
        torch.save(whole.state_dict(), buffer)
        buffer.seek(0)
        assert isinstance(resumed, Stateful)
        resumed.load_state_dict(torch.load(buffer, weights_only=True))
    for step in range(at, at + 8):
        assert alike(take_step(whole, step), take_step(resumed, step))


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_is_documented(name):
    assert SAMPLERS.summary(name)
