"""Successive halving."""

import random as chance

from dsopt.errors import InputError
from dsopt.registry import STRATEGIES
from dsopt.search.queue import ChildRun
from dsopt.search.spaces.contract import Genotype, Space
from dsopt.search.strategies.fixed import random


class SuccessiveHalving:
    """Random children start at the lowest rung; the best 1/`reduction` of the children of a rung are promoted to the next."""

    def __init__(self, space: Space, drawn: chance.Random, children: int, rungs: list[int], reduction: int) -> None:
        self.fresh, self.rungs, self.reduction = random(space, drawn, children, rungs[0]), rungs, reduction
        self.known: list[dict[Genotype, float]] = [{} for _ in rungs]
        self.promoted: list[set[Genotype]] = [set() for _ in rungs]

    def ask(self) -> ChildRun | None:
        for rung in reversed(range(len(self.rungs) - 1)):
            ordered = sorted(self.known[rung], key=lambda genotype: -self.known[rung][genotype])
            for genotype in ordered[: len(ordered) // self.reduction]:
                if genotype not in self.promoted[rung]:
                    self.promoted[rung].add(genotype)
                    return ChildRun(genotype, self.rungs[rung + 1])
        return self.fresh.ask()

    def tell(self, run: ChildRun, accuracy: float) -> None:
        self.known[self.rungs.index(run.steps)][run.genotype] = accuracy


@STRATEGIES.register(learns=True)
def asha(space: Space, drawn: chance.Random, children: int, steps: int, *, reduction: int = 3, rungs: int = 4) -> SuccessiveHalving:
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2): promotes children, never stops a training.

    A promoted child is trained again from scratch, with the learning rate schedule of its longer budget, so its accuracy at every
    rung is that of a completed training. This costs at most half of the work in addition.
    """
    lengths = [max(1, round(steps / reduction ** (rungs - 1 - rung))) for rung in range(rungs)]
    if reduction < 2 or rungs < 1 or len(set(lengths)) < rungs:
        raise InputError(
            f"search.strategy asha: {rungs} rungs up to {steps} steps with reduction {reduction} are not all different."
        )
    return SuccessiveHalving(space, drawn, children, lengths, reduction)
