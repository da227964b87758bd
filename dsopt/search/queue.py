"""The next children of a search, in an order that does not depend on timing."""

import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from dsopt.search.spaces.contract import Genotype


class ChildRun(NamedTuple):
    """The training of one child for a number of steps."""

    genotype: Genotype
    steps: int


@runtime_checkable
class Strategy(Protocol):
    """Chooses the runs of a search; sees neither data nor networks."""

    def ask(self) -> ChildRun | None:
        """The next run; None if there is none at all, or none before further results."""
        ...

    def tell(self, run: ChildRun, accuracy: float) -> None:
        """Report the accuracy of a run, -inf if it failed; called in the order of `ask`."""
        ...


class Queue:
    """Mediates between a strategy and parallel workers: run n is chosen when exactly the results up to n - `ahead` are known.

    So the children of a search depend on its seed alone, not on the number of workers or on which of them was faster, and a
    restarted search chooses the same ones again. A run that a strategy chooses twice is executed once.

    Args:
        ahead: the number of runs that may be chosen before the result of the first of them is known.
        known: the accuracies of an earlier attempt, nan for failed runs.
    """

    def __init__(self, strategy: Strategy, ahead: int, known: Mapping[ChildRun, float]) -> None:
        self.strategy, self.ahead, self.known = strategy, ahead, dict(known)
        self.asked: list[ChildRun] = []
        self.told, self.running = 0, set[ChildRun]()

    def take(self, most: int) -> list[ChildRun]:
        """Up to `most` further runs to execute; an empty list while more results are needed first, or at the end."""
        found: list[ChildRun] = []
        while len(found) < most:
            if len(self.asked) - self.told >= self.ahead:
                if not self._tell():
                    break
                continue
            run = self.strategy.ask()
            if run is not None:
                self.asked.append(run)
                if run not in self.known and run not in self.running:
                    self.running.add(run)
                    found.append(run)
            elif not self._tell():
                break
        return found

    def put(self, run: ChildRun, accuracy: float) -> None:
        """Store the accuracy of a run, nan if it failed; may be called in any order."""
        self.running.discard(run)
        self.known[run] = accuracy

    def _tell(self) -> bool:
        """Tell the strategy the oldest result that it has not been told; False if that is not known yet."""
        if self.told == len(self.asked) or self.asked[self.told] not in self.known:
            return False
        run = self.asked[self.told]
        accuracy = self.known[run]
        self.strategy.tell(run, accuracy if math.isfinite(accuracy) else -math.inf)
        self.told += 1
        return True

    def runs(self) -> list[ChildRun]:
        """All runs chosen so far, each once, in order."""
        return list(dict.fromkeys(self.asked))
