"""Strategies whose children do not depend on results."""

import random as chance
from collections.abc import Iterable

from dsopt.registry import STRATEGIES
from dsopt.search.queue import ChildRun
from dsopt.search.spaces.contract import Genotype, Space


class Listed:
    """The children of a list, in order."""

    def __init__(self, genotypes: Iterable[Genotype], steps: int) -> None:
        self.left, self.steps = iter(list(genotypes)), steps

    def ask(self) -> ChildRun | None:
        genotype = next(self.left, None)
        return None if genotype is None else ChildRun(genotype, self.steps)

    def tell(self, run: ChildRun, accuracy: float) -> None: ...


@STRATEGIES.register(learns=False)
def grid(space: Space, drawn: chance.Random, children: int, steps: int) -> Listed:
    """All children in order, or `children` of them at equal distances."""
    count = min(children, len(space))
    return Listed((space.at(number * len(space) // count) for number in range(count)), steps)


@STRATEGIES.register(learns=False)
def random(space: Space, drawn: chance.Random, children: int, steps: int) -> Listed:
    """Distinct random children; a longer search with the same seed starts with those of a shorter one."""
    seen: dict[Genotype, None] = {}
    while len(seen) < min(children, len(space)):
        seen[space.sample(drawn)] = None
    return Listed(seen, steps)
