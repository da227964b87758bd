"""Classifiers from networks without a last layer."""

import torch
from torch import Tensor, nn


class ThreeChannels(nn.Module):
    """Grayscale pictures for networks that take three channels."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)


@torch.no_grad()
def with_head(body: nn.Module, classes: int, size: int, channels: int = 3) -> nn.Sequential:
    """A network of features [b, d] with a new last layer; both by themselves are `[:-1]` and `[-1]`, as of every classifier here.

    Args:
        channels: of the pictures; of one channel, all three that the network takes are the same.
    """
    first = [ThreeChannels()] if channels == 1 else []
    whole = nn.Sequential(*first, body)
    training, width = whole.training, whole.eval()(torch.zeros(1, channels, size, size)).shape[1]
    return nn.Sequential(*first, body, nn.Linear(width, classes)).train(training)
