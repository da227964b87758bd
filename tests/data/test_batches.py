"""Batches: the same for the same step, on any number of workers; their images, labels and weights."""

from dataclasses import replace

import pytest
import torch
from digits import CPU, digits, feed
from torch import Tensor

from dsopt.data.ahead import Ahead
from dsopt.data.batches import Batches, in_order, take
from dsopt.training.samplers import BatchIndices


def plain(sampler, *, rank: int = 0, world: int = 1) -> Batches:
    """Batches whose transform encodes its arguments in the pixels."""
    images = (
        torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    )

    def transform(part: Tensor, seed: int, total: int, start: int, stop: int) -> Tensor:
        assert len(part) == stop - start and part.dtype == torch.uint8 and part.is_contiguous(memory_format=torch.channels_last)
        return part.float() + 100 * seed + 1000 * total

    return Batches(images, torch.arange(10) * 7, sampler, lambda step: step + 1, transform, rank, world)


def test_a_batch_is_what_the_sampler_says_transformed():
    batch = plain(lambda step: BatchIndices(torch.tensor([9, step, 3, 3])))(5)
    assert batch.images[:, 0, 0, 0].tolist() == [4609, 4605, 4603, 4603]  # seed 6, whole batch of 4
    assert batch.labels.tolist() == [63, 35, 21, 21] and batch.seed == 6


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_workers_share_a_batch_without_gap_or_overlap(world):
    def sampler(step: int) -> BatchIndices:
        return BatchIndices(torch.arange(7) + step, torch.arange(7) / 7)

    parts = [plain(sampler, rank=rank, world=world)(2) for rank in range(world)]
    whole = plain(sampler)(2)
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    assert max(len(part.labels) for part in parts) - min(len(part.labels) for part in parts) <= 1
    assert torch.equal(torch.cat([part.weights for part in parts]), whole.weights)
    assert {part.seed for part in parts} == {whole.seed}


def test_what_is_kept_of_a_slice_is_trained_on_and_nothing_observed():
    source = plain(lambda step: BatchIndices(torch.tensor([9, step, 3, 3])), rank=1, world=2)
    keeping = replace(
        source, keep=lambda batch: batch._replace(images=batch.images[:1], labels=batch.labels[:1] + 1), observe=print
    )
    batch = keeping(5)
    assert batch.labels.tolist() == [22] and torch.equal(batch.images, source(5).images[:1]) and batch.observe is None
    assert source(5).labels.tolist() == [21, 21]


def test_every_logit_is_observed_with_its_image():
    seen = []
    source = replace(plain(lambda step: BatchIndices(torch.tensor([9, step, 3]))), observe=lambda *told: seen.append(told))
    batch = source(5)
    logits = torch.rand(3, 4)
    assert batch.observe is not None
    batch.observe(logits)
    ((indices, labels, told),) = seen
    assert indices.tolist() == [9, 5, 3] and torch.equal(labels, batch.labels) and torch.equal(told, logits)


def test_two_workers_see_the_augmented_images_of_one():
    whole, parts = feed(100, 30)(4), [feed(100, 30, rank=rank, world=2)(4) for rank in range(2)]
    torch.testing.assert_close(torch.cat([part.images for part in parts]), whole.images, rtol=0, atol=1e-5)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)


def test_a_step_has_the_same_batch_whatever_came_before():
    source, other = feed(50, 8), feed(50, 8)
    for step in range(20):
        source(step)
    assert torch.equal(source(13).images, other(13).images) and torch.equal(source(13).labels, other(13).labels)
    assert not torch.equal(source(13).images, source(14).images)
    assert not torch.equal(source(13).images, feed(50, 8, seed=1)(13).images)


def test_an_image_that_comes_again_is_augmented_anew():
    first, again = feed(8, 8)(0), feed(8, 8)(1)
    order = [batch.labels.argsort(stable=True) for batch in (first, again)]
    assert torch.equal(first.labels[order[0]], again.labels[order[1]])
    assert not torch.allclose(first.images[order[0]], again.images[order[1]])


def test_take_is_indexing_that_stays_channels_last():
    images, _ = digits()
    indices = torch.tensor([3, 1, 3, 1796])
    found = take(images, indices)
    assert torch.equal(found, images[indices]) and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(take(images.contiguous(), indices), images[indices])


@pytest.mark.parametrize("size", [1, 4, 10, 64])
def test_in_order_gives_everything_once(size):
    images = torch.arange(10)[:, None, None, None]
    batches = list(in_order(images, torch.arange(10), size, lambda part: part * 2, CPU))
    assert torch.cat([batch.images for batch in batches]).flatten().tolist() == list(range(0, 20, 2))
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(10))
    assert all(len(batch.labels) == size for batch in batches[:-1])


def test_images_taken_ahead_are_those_that_are_asked_for() -> None:
    """Also when a run goes on at another step."""
    images, taken = torch.arange(10.0).view(10, 1, 1, 1), []
    ahead = Ahead(lambda indices: taken.append(indices.tolist()) or images[indices], torch.device("cpu"))
    batches = [torch.tensor([3, 1]), torch.tensor([4, 0]), torch.tensor([9, 9])]
    for this, later in ((0, 1), (1, 2), (0, 1)):
        assert torch.equal(ahead(batches[this], batches[later]), images[batches[this]])
    ahead.thread.shutdown()
    assert sorted(taken) == sorted([[3, 1], [4, 0], [9, 9], [3, 1], [4, 0]])
