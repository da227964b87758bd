"""Evolution."""

import random
from collections import deque

from dsopt.registry import STRATEGIES
from dsopt.search.queue import Job
from dsopt.search.spaces.contract import Genotype, Space

TRIES = 50  # mutations of mutations until one is new


def parent(alive: deque[tuple[Genotype, float]], sample: int, drawn: random.Random) -> Genotype:
    """The best of `sample` children by chance."""
    return max(drawn.sample(list(alive), min(sample, len(alive))), key=lambda pair: pair[1])[0]


def unseen(space: Space, genotype: Genotype, seen: set[Genotype], drawn: random.Random) -> Genotype | None:
    """The genotype changed in one field, or in more while it is one that was seen; None if none was found."""
    for _ in range(TRIES):
        genotype = space.mutate(genotype, drawn)
        if genotype not in seen:
            return genotype
    some = drawn.sample(range(len(space)), min(len(space), 100 * TRIES))
    return next((genotype for genotype in map(space.at, some) if genotype not in seen), None)


class RegularisedEvolution:
    """A population in which the oldest dies, however good it is."""

    def __init__(self, space: Space, drawn: random.Random, children: int, steps: int, population: int, sample: int) -> None:
        self.space, self.drawn, self.left, self.steps = space, drawn, min(children, len(space)), steps
        self.first, self.sample = population, sample
        self.alive: deque[tuple[Genotype, float]] = deque(maxlen=population)
        self.seen: set[Genotype] = set()

    def ask(self) -> Job | None:
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
        return Job(genotype, self.steps)

    def tell(self, job: Job, accuracy: float) -> None:
        self.alive.append((job.genotype, accuracy))


@STRATEGIES.register(learns=True)
def evolution(
    space: Space, drawn: random.Random, children: int, steps: int, *, population: int = 20, sample: int = 5
) -> RegularisedEvolution:
    """Regularised evolution (Real et al. 2019, arXiv:1802.01548, algorithm 1), one field mutated, no child twice.

    Children age in the order in which they were named, where the paper's age as they finish: the search can be repeated.
    """
    return RegularisedEvolution(space, drawn, children, steps, population, sample)
