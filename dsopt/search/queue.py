"""What a strategy names next, in an order that no timing can change."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from dsopt.search.spaces.contract import Genotype


class Job(NamedTuple):
    """A child to be trained for so many steps."""

    genotype: Genotype
    steps: int


@runtime_checkable
class Strategy(Protocol):
    """Names jobs; sees neither data nor networks."""

    def ask(self) -> Job | None:
        """The next job; None if there is none before more is told, or at all."""
        ...

    def tell(self, job: Job, accuracy: float) -> None:
        """What a job was worth, -inf if it failed; in the order in which they were asked for."""
        ...


class Queue:
    """Asks a strategy and tells it, so that child n is named knowing exactly the children up to n - `ahead`.

    So the children of a search follow from its seed alone: not from the number of workers, nor from which of them was faster, and a
    search that was interrupted names the same ones again. A job that a strategy names twice is run once.

    Args:
        ahead: how many may be named before the first of them is known.
        known: the accuracies of an earlier attempt, nan for failed ones.
    """

    def __init__(self, strategy: Strategy, ahead: int, known: Mapping[Job, float]) -> None:
        self.strategy, self.ahead, self.known = strategy, ahead, dict(known)
        self.asked: list[Job] = []
        self.told, self.running = 0, set[Job]()

    def take(self, most: int) -> list[Job]:
        """Up to `most` further jobs to run; none while nothing can be named before more is known, or at the end."""
        found: list[Job] = []
        while len(found) < most:
            if len(self.asked) - self.told >= self.ahead:
                if not self._tell():
                    break
                continue
            job = self.strategy.ask()
            if job is not None:
                self.asked.append(job)
                if job not in self.known and job not in self.running:
                    self.running.add(job)
                    found.append(job)
            elif not self._tell():
                break
        return found

    def put(self, job: Job, accuracy: float) -> None:
        """What a job was worth, nan if it failed; in any order."""
        self.running.discard(job)
        self.known[job] = accuracy

    def _tell(self) -> bool:
        """Tell the strategy the oldest result it has not heard; False if there is none yet."""
        if self.told == len(self.asked) or self.asked[self.told] not in self.known:
            return False
        job = self.asked[self.told]
        accuracy = self.known[job]
        self.strategy.tell(job, accuracy if math.isfinite(accuracy) else -math.inf)
        self.told += 1
        return True

    def jobs(self) -> list[Job]:
        """All that were named, each once, in order."""
        return list(dict.fromkeys(self.asked))
