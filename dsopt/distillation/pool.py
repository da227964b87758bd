"""A pool of networks of staggered ages, trained on the synthetic set as it forms.

All workers hold the same pool: what it draws comes from numbers that they share, and they train it on the same images. So a
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
    """`size` networks. One that has had `most` steps gives way to a fresh one.

    Args:
        optimizer: parameters -> the optimiser of a network.
    """

    def __init__(
        self, problem: Problem, size: int, most: int, optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    ) -> None:
        self.problem, self.most, self.optimizer = problem, most, optimizer
        self.ages = [most * index // size for index in range(size)]
        self.born = size  # networks so far
        self.networks = [self._fresh(index) for index in range(size)]
        self.optimizers = [optimizer(list(network.parameters())) for network in self.networks]

    def _fresh(self, number: int) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.problem.seed, "pool", number))
            return self.problem.network()

    def pick(self, seed: int) -> int:
        return derive(seed, "pick") % len(self.networks)

    def train(self, index: int, loss: Callable[[nn.Sequential], Tensor]) -> None:
        """One step of a network, or a fresh one in its place."""
        if self.ages[index] >= self.most:
            self.networks[index], self.ages[index] = self._fresh(self.born), 0
            self.optimizers[index] = self.optimizer(list(self.networks[index].parameters()))
            self.born += 1
            return
        minimize(loss(self.networks[index]), self.optimizers[index])
        self.ages[index] += 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "ages": list(self.ages),
            "born": self.born,
            "networks": [network.state_dict() for network in self.networks],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ages, self.born = list(state["ages"]), state["born"]
        for mine, saved in zip(self.networks, state["networks"], strict=True):
            mine.load_state_dict(saved)
        for mine, saved in zip(self.optimizers, state["optimizers"], strict=True):
            mine.load_state_dict(saved)
