"""Strategies that name their children whatever comes out."""

import random as chance
from collections.abc import Iterable

from dsopt.registry import STRATEGIES
from dsopt.search.queue import Job
from dsopt.search.spaces.contract import Genotype, Space


class Listed:
    """Children of a list, one after another."""

    def __init__(self, genotypes: Iterable[Genotype], steps: int) -> None:
        self.left, self.steps = iter(list(genotypes)), steps

    def ask(self) -> Job | None:
        genotype = next(self.left, None)
        return None if genotype is None else Job(genotype, self.steps)

    def tell(self, job: Job, accuracy: float) -> None: ...


@STRATEGIES.register(learns=False)
def grid(space: Space, drawn: chance.Random, children: int, steps: int) -> Listed:
    """All children in order, or as many at equal distances."""
    count = min(children, len(space))
    return Listed((space.at(number * len(space) // count) for number in range(count)), steps)


@STRATEGIES.register(learns=False)
def random(space: Space, drawn: chance.Random, children: int, steps: int) -> Listed:
    """Different children by chance: a longer search begins with the shorter one's."""
    seen: dict[Genotype, None] = {}
    while len(seen) < min(children, len(space)):
        seen[space.sample(drawn)] = None
    return Listed(seen, steps)
