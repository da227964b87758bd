"""Evolution."""

import random
from collections import deque

from dsopt.registry import STRATEGIES
from dsopt.search.queue import ChildRun
from dsopt.search.spaces.contract import Genotype, Space

TRIES = 50  # further mutations until a genotype is new


def parent(alive: deque[tuple[Genotype, float]], sample: int, drawn: random.Random) -> Genotype:
    """Tournament selection: the best of `sample` random children."""
    return max(drawn.sample(list(alive), min(sample, len(alive))), key=lambda pair: pair[1])[0]


def unseen(space: Space, genotype: Genotype, seen: set[Genotype], drawn: random.Random) -> Genotype | None:
    """Mutate one field, and further ones while the result was seen before; None if nothing new was found."""
    for _ in range(TRIES):
        genotype = space.mutate(genotype, drawn)
        if genotype not in seen:
            return genotype
    some = drawn.sample(range(len(space)), min(len(space), 100 * TRIES))
    return next((genotype for genotype in map(space.at, some) if genotype not in seen), None)


class RegularisedEvolution:
    """A population from which the oldest child is removed, however good it is."""

    def __init__(self, space: Space, drawn: random.Random, children: int, steps: int, population: int, sample: int) -> None:
        self.space, self.drawn, self.left, self.steps = space, drawn, min(children, len(space)), steps
        self.first, self.sample = population, sample
        self.alive: deque[tuple[Genotype, float]] = deque(maxlen=population)
        self.seen: set[Genotype] = set()

    def ask(self) -> ChildRun | None:
        if not self.left:
            return None
        if len(self.seen) < self.first or not self.alive:
            genotype = self.space.sample(self.drawn)
            while genotype in self.seen:
                genotype = self.space.sample(self.drawn)
        else:
            new = unseen(self.space, parent(self.alive, self.sample, self.drawn), self.seen, self.drawn)
            if new is None:
                self.left = 0
                return None
            genotype = new
        self.left -= 1
        self.seen.add(genotype)
        return ChildRun(genotype, self.steps)

    def tell(self, run: ChildRun, accuracy: float) -> None:
        self.alive.append((run.genotype, accuracy))


@STRATEGIES.register(learns=True)
def evolution(
    space: Space, drawn: random.Random, children: int, steps: int, *, population: int = 20, sample: int = 5
) -> RegularisedEvolution:
    """Regularized evolution (Real et al. 2019, arXiv:1802.01548, algorithm 1), with one field mutated and no child twice.

    A child's age counts from when it was chosen; in the paper, from when it finished, which depends on timing.
    """
    return RegularisedEvolution(space, drawn, children, steps, population, sample)
