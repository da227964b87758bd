"""Equally many images of every class."""

import torch
from jaxtyping import Int64
from torch import Tensor

from dsopt.seeds import derive
from dsopt.training.samplers.contract import BatchIndices, Sampler
from dsopt.training.samplers.shuffle import shuffle


def by_class(labels: Int64[Tensor, " n"], batch_size: int, seed: int) -> Sampler:
    """Batches with equally many images of each class: one of every class, then a second of every class, and so on.

    In this order a worker's slice of a batch is balanced as well. Every image of a class comes once before any comes again. Not
    registered, as it depends on the labels.
    """
    rows = [(labels == label).nonzero().squeeze(1) for label in labels.unique().tolist()]
    per_class = max(1, batch_size // len(rows))
    samplers = [shuffle(len(own), per_class, derive(seed, index)) for index, own in enumerate(rows)]

    def draw(step: int) -> BatchIndices:
        chosen = [own[sampler(step).indices] for own, sampler in zip(rows, samplers, strict=True)]
        return BatchIndices(torch.stack(chosen, 1).flatten())

    return draw
