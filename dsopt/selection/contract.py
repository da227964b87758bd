"""What a selection method gives back, and what one that can be computed in pieces must offer.

A selector is `(embeddings [n d], labels [n], budget, generator, *, options) -> Selection`, entered with `@selector(...)`,
which says what callers must know before they call it. One that needs what training tells about every image takes a fifth
positional argument, `scores [n s]`: the columns of the scores table that it names.

It returns exactly `budget` distinct rows, the same for the same seed, ties broken by the lowest row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from dsopt.registry import SELECTORS


def selector(
    *,
    embeddings: bool = True,
    labels: bool = False,
    seeded: bool = False,
    scores: Sequence[str] = (),
    stream: "Callable[..., type[Stream] | None] | None" = None,
) -> Callable[..., Any]:
    """Enter a function as a selection method.

    Args:
        embeddings: it looks at the embeddings; otherwise it is given some of shape (n, 0).
        labels: it cannot do without labels; otherwise they may be missing (-1).
        seeded: its answer depends on the generator.
        scores: the columns of the scores table that it needs (`dsopt.training.dynamics`), in this order.
        stream: its options -> the `Stream` that computes the same answer block by block, or None if they allow for none.
    """
    return SELECTORS.register(embeddings=embeddings, labels=labels, seeded=seeded, scores=tuple(scores), stream=stream)


def stream_of(name: str, options: Mapping[str, Any]) -> "type[Stream] | None":
    """How a method with these options is computed block by block, if it can be."""
    stream = SELECTORS.traits(name).stream
    return stream(**SELECTORS.options(name, options)) if stream else None


class Selection(NamedTuple):
    """The chosen rows, best first: their indices (or ids), scores (float32; nan where a method has none), and why."""

    indices: Int[Tensor, " k"]
    scores: Float[Tensor, " k"]
    reasons: Sequence[str]


@runtime_checkable
class Stream(Protocol):
    """A picklable summary of the rows seen so far; made in pieces, merged in any order, with one exact result."""

    @classmethod
    def start(cls, budget: int, size: int) -> "Stream":
        """Before any row, for `budget` chosen ones and embeddings of `size` elements."""
        ...

    def add(self, ids: Int[Tensor, " b"], embeddings: Float[Tensor, "b d"]) -> None:
        """Take in a block; every id comes once, finite values only."""
        ...

    def empty(self) -> "Stream":
        """A state for further rows, to be merged into this one; it drops at once what this one will not need."""
        ...

    def merge(self, other: "Stream") -> None:
        """Take in what another state has seen."""
        ...

    def enough(self) -> bool:
        """Whether what was kept suffices for the result; if not, all rows must be shown to `deeper()`."""
        ...

    def deeper(self) -> "Stream":
        """A new start that keeps more."""
        ...

    def result(self) -> Selection:
        """The choice, with ids for `indices`."""
        ...
