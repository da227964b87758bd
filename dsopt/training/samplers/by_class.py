"""Equally many images of every class."""

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.seeds import derive
from dsopt.training.samplers.contract import Draw, Sampler
from dsopt.training.samplers.shuffle import shuffle


def by_class(labels: Int64[Tensor, " n"], batch_size: int, seed: int) -> Sampler:
    """Batches with as many images of each class as fit: one of every class, then a second, so that a slice is balanced as well.

    Every image of a class comes once before any comes again. Not registered: it goes by the labels.
    """
    rows = [(labels == label).nonzero().squeeze(1) for label in labels.unique().tolist()]
    samplers = [shuffle(len(some), max(1, batch_size // len(rows)), derive(seed, which)) for which, some in enumerate(rows)]

    def draw(step: int) -> Draw:
        return Draw(torch.stack([some[sampler(step).indices] for some, sampler in zip(rows, samplers, strict=True)], 1).flatten())

    return draw
