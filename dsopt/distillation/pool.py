"""A pool of networks of staggered ages, trained on the synthetic set while it is learned.

All workers have the same pool: its random numbers are the same on all of them, and so are the images that it is trained on. So a
checkpoint of one worker is a checkpoint of all.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dsopt.distillation.contract import Problem
from dsopt.learners.optim import minimize
from dsopt.seeds import derive


class Pool:
    """`size` networks. A network that has had `max_age` steps is replaced by a new one.

    Args:
        optimizer: parameters of a network -> its optimizer.
    """

    def __init__(
        self, problem: Problem, size: int, max_age: int, optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    ) -> None:
        self.problem, self.max_age, self.optimizer = problem, max_age, optimizer
        self.ages = [max_age * index // size for index in range(size)]
        self.created = size  # networks so far
        self.networks = [self._new(index) for index in range(size)]
        self.optimizers = [optimizer(list(network.parameters())) for network in self.networks]

    def _new(self, number: int) -> nn.Sequential:
        return self.problem.drawn(self.problem.seed, "pool", number)

    def pick(self, seed: int) -> int:
        """The index of a random network."""
        return derive(seed, "pick") % len(self.networks)

    def train(self, index: int, loss: Callable[[nn.Sequential], Tensor]) -> None:
        """One step of a network, or its replacement by a new one."""
        if self.ages[index] >= self.max_age:
            self.networks[index], self.ages[index] = self._new(self.created), 0
            self.optimizers[index] = self.optimizer(list(self.networks[index].parameters()))
            self.created += 1
            return
        minimize(loss(self.networks[index]), self.optimizers[index])
        self.ages[index] += 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "ages": list(self.ages),
            "born": self.created,
            "networks": [network.state_dict() for network in self.networks],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ages, self.created = list(state["ages"]), state["born"]
        for mine, saved in zip(self.networks, state["networks"], strict=True):
            mine.load_state_dict(saved)
        for mine, saved in zip(self.optimizers, state["optimizers"], strict=True):
            mine.load_state_dict(saved)
