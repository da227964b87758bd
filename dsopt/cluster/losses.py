"""Which lost workers count: those since the last checkpoint, but not of machines that the cloud took away with a notice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dsopt.cluster import local, private, session
from dsopt.errors import JobError

Saved = Callable[[], object]  # what is saved of a run, such as its checkpoint's time: it changes when the run has progressed
LOOK_S = 5.0  # seconds between looks for notices; clouds give them half a minute or more before


@dataclass
class Losses:
    """Counts the lost workers of a run, anew after each checkpoint: a long run on cheap machines may lose many of them."""

    most: int
    saved: Saved

    def __post_init__(self) -> None:
        self.count, self.last = 0, self.saved()

    def too_many(self) -> bool:
        """Count one more. Whether there were more than `most` since the last checkpoint."""
        now = self.saved()
        self.count = 1 if now != self.last else self.count + 1
        self.last = now
        return self.count > self.most

    def error(self, cause: BaseException) -> JobError:
        return JobError(f"training: gave up after {self.most} lost workers without a checkpoint: {session.root_cause(cause)}")


@contextmanager
def taken_away() -> Iterator[Callable[[], set[str]]]:
    """Within it: gives the ids of the nodes that the cloud has taken away so far, or is about to (preempted, in Ray's words).

    Ray itself calls a node preempted only if it ends after the deadline of its notice, and then forgets the notice. Clouds, and
    scripts that pass their notices on, are not that exact: here every node is, of which a notice was seen.
    """
    if local.is_own():
        yield set
        return
    seen: set[str] = set()

    def look() -> None:
        seen.update(private.nodes_taken_away())

    def taken() -> set[str]:
        look()
        return set(seen)

    with session.repeating(look, LOOK_S):
        yield taken
