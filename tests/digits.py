"""scikit-learn's real digits as tests take them: 1,797 grey images of 32x32 bytes, channels last, with labels 0..9."""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dsopt.augment import draws
from dsopt.augment.inputs import make_inputs
from dsopt.data.batches import Batches, in_order
from dsopt.data.sets.digits import read_digits
from dsopt.seeds import derive
from dsopt.training.samplers.shuffle import shuffle

CPU = torch.device("cpu")


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    images, labels = read_digits()[None]
    large = torch.from_numpy(images)[:, None].repeat_interleave(4, 2).repeat_interleave(4, 3)
    return large.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


def feed(
    count: int = 1797,
    batch: int = 16,
    *,
    augment: Sequence[str] = ("crop", "flip", "brightness", "contrast"),
    standardised: bool = True,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Batches:
    """The batches of the first `count` digits, made as the stages make them."""
    images, labels = digits()
    inputs = make_inputs(augment, 24, "deviation" if standardised else None)

    def transform(part: Tensor, step_seed: int, total: int, start: int, stop: int) -> Tensor:
        return inputs.train(part, draws(step_seed, total, start, stop, CPU))

    order = shuffle(count, batch, derive(seed, "order"))
    return Batches(images[:count], labels[:count], order, lambda step: derive(seed, "transform", step), transform, rank, world)


def held_out(size: int = 100, *, standardised: bool = True) -> Iterator:
    """The last 297 digits, as an evaluation takes them."""
    images, labels = digits()
    inputs = make_inputs([], 24, "deviation" if standardised else None)
    return in_order(images[1500:], labels[1500:], size, inputs.test, CPU)
