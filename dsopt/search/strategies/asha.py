"""Successive halving."""

import random as chance

from dsopt.errors import InputError
from dsopt.registry import STRATEGIES
from dsopt.search.queue import Job
from dsopt.search.spaces.contract import Genotype, Space
from dsopt.search.strategies.fixed import random


class SuccessiveHalving:
    """Children by chance at the lowest rung; of those at a rung, one of `reduction` goes on to the next."""

    def __init__(self, space: Space, drawn: chance.Random, children: int, rungs: list[int], reduction: int) -> None:
        self.fresh, self.rungs, self.reduction = random(space, drawn, children, rungs[0]), rungs, reduction
        self.known: list[dict[Genotype, float]] = [{} for _ in rungs]
        self.promoted: list[set[Genotype]] = [set() for _ in rungs]

    def ask(self) -> Job | None:
        for rung in reversed(range(len(self.rungs) - 1)):
            ordered = sorted(self.known[rung], key=lambda genotype: -self.known[rung][genotype])
            for genotype in ordered[: len(ordered) // self.reduction]:
                if genotype not in self.promoted[rung]:
                    self.promoted[rung].add(genotype)
                    return Job(genotype, self.rungs[rung + 1])
        return self.fresh.ask()

    def tell(self, job: Job, accuracy: float) -> None:
        self.known[self.rungs.index(job.steps)][job.genotype] = accuracy


@STRATEGIES.register(learns=True)
def asha(space: Space, drawn: chance.Random, children: int, steps: int, *, reduction: int = 3, rungs: int = 4) -> SuccessiveHalving:
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2): promotes, and stops nobody half-way.

    A promoted child is trained again from its start with a schedule for its longer budget, at most half as much work again: its
    accuracy at every rung is that of a finished training.
    """
    lengths = [max(1, round(steps / reduction ** (rungs - 1 - rung))) for rung in range(rungs)]
    if reduction < 2 or rungs < 1 or len(set(lengths)) < rungs:
        raise InputError(f"search.strategy asha: {rungs} rungs of {steps} steps with reduction {reduction} are not different.")
    return SuccessiveHalving(space, drawn, children, lengths, reduction)
