"""The moving average of a network's weights over its training."""

import copy
from typing import Any

import torch
from torch import nn


class Average:
    """The exponential moving average of a network's weights.

    Classifiers are tested with it (selection paper, section 4.1.3), and a generator's images are better with it than with its last
    weights (Yazici et al. 2019, arXiv:1806.04498).

    Args:
        decay: the share of the average that stays at each step; 0: the last weights. Early steps use min(decay, (1 + step) / (10 +
            step)), as TensorFlow's moving average does in the code that the selection paper builds on.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.trained, self.decay, self.step = network, decay, 0
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._weights = [p.detach() for p in network.parameters()]
        self._averaged = [p.detach() for p in self.network.parameters()]

    def update(self) -> None:
        """Take the trained network's current weights into the average."""
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self._averaged, self._weights, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def averaged_network(self) -> Any:
        """The network with the averaged weights and the current batch statistics of the trained one, in evaluation mode."""
        for mine, trained in zip(self.network.buffers(), self.trained.buffers(), strict=True):
            mine.copy_(trained)
        return self.network


class Best:
    """The averaged network at its best score so far, beside the training, which it does not change.

    Args:
        average: the average whose weights, with the trained network's batch statistics, are offered.
    """

    def __init__(self, average: Average) -> None:
        self.average, self.score = average, float("-inf")
        self.network = copy.deepcopy(average.network)

    def offer(self, score: float) -> None:
        """Keep the current weights if their score is higher than any before; of equal ones the first."""
        if score > self.score:
            self.score = score
            self.network.load_state_dict(self.average.averaged_network().state_dict())

    def restore(self) -> None:
        """Put the best weights in place of the current ones."""
        for network in (self.average.trained, self.average.network):
            network.load_state_dict(self.network.state_dict())
