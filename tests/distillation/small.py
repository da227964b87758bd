"""A small problem on the real digits, for every method."""

from collections.abc import Callable, Iterator

import pytest
import torch
from digits import digits
from torch import Tensor, nn

from dsopt.data.batches import Batch
from dsopt.distillation.contract import Problem
from dsopt.seeds import derive
from dsopt.training.samplers.by_class import by_class


def tiny() -> nn.Sequential:
    """A network that can be unrolled, smooth but for its ReLU; in the default type."""
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 5, stride=2), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(3 * 49, 8), nn.Tanh(), nn.Linear(8, 10)),
    )


def inputs(images: Tensor) -> Tensor:
    return (images.to(torch.get_default_dtype()) / 255 - 0.3) / 0.4


def problem(per_class: int = 1, network: Callable[[], nn.Sequential] = tiny, **more) -> Problem:
    images, labels = digits()
    return Problem(images[:500], labels[:500], inputs, 10, per_class, network, **more)


def batch(step: int = 0, size: int = 40, seed: int = 0) -> Batch:
    """Real images, as many of each class."""
    images, labels = digits()
    indices = by_class(labels[:500], size, seed)(step).indices
    return Batch(inputs(images[indices]), labels[indices], derive(seed, step))


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
