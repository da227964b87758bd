"""What a selection method gives back, and what one that can be computed in pieces must offer.

A selector is `(embeddings [n d], labels [n], budget, generator, *, options) -> Selection`, entered with `@selector(...)`,
which says what callers must know before they call it. One that needs what training tells about every image takes a fifth
positional argument, `scores [n s]`: the columns of the scores table that it names.

One that `continues` takes, after these, `kept [m d]`: the embeddings of rows that are chosen already, and are not among the others;
and if it has `clusters`, the centroids [k d] of the choice that it continues, or None.

It returns exactly `budget` distinct rows, the same for the same seed, ties broken by the lowest row.

A method may also say how it chooses where no process holds all embeddings: in passes over the rows (`Passes`), or, if one state
that is filled block by block gives its answer, by that state (`Stream`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Generator, Tensor

from dsopt.registry import SELECTORS

if TYPE_CHECKING:
    from dsopt.selection.streams.costs import Cost
    from dsopt.selection.streams.rows import Rows


def selector(
    *,
    embeddings: bool = True,
    labels: bool = False,
    seeded: bool = False,
    scores: Sequence[str] = (),
    gpu: bool = False,
    continues: bool = False,
    clusters: bool = False,
    cost: "Callable[..., Cost] | None" = None,
    stream: "Callable[..., type[Stream] | None] | None" = None,
    passes: "Callable[..., Passes | None] | None" = None,
) -> Callable[..., Any]:
    """Enter a function as a selection method.

    Args:
        embeddings: it looks at the embeddings; otherwise it is given some of shape (n, 0).
        labels: it cannot do without labels; otherwise they may be missing (-1).
        seeded: its answer depends on the generator.
        scores: the columns of the scores table that it needs (`dsopt.training.dynamics`), in this order.
        gpu: embeddings may lie on a GPU; labels, scores, generator and answer do not.
        continues: it, and its passes, can choose further rows, given those that were chosen before.
        clusters: its choice has the centroids of clusters, from which it continues.
        cost: (size, **options) -> about what it takes, `dsopt.selection.streams.costs`; by default some numbers for every row.
        stream: its options -> the `Stream` that computes the same answer block by block, or None if they allow for none.
        passes: its options -> the `Passes` that choose without all embeddings in one place, or None if they allow for none.
    """
    needs = {"embeddings": embeddings, "labels": labels, "seeded": seeded, "scores": tuple(scores)}
    needs |= {"gpu": gpu, "continues": continues, "clusters": clusters, "cost": cost}
    return SELECTORS.register(**needs, stream=stream, passes=passes)


def stream_of(name: str, options: Mapping[str, Any]) -> "type[Stream] | None":
    """How a method with these options is computed block by block, if it can be."""
    stream = SELECTORS.traits(name).stream
    return stream(**SELECTORS.options(name, options)) if stream else None


def passes_of(name: str, options: Mapping[str, Any]) -> "Passes | None":
    """How a method with these options chooses in passes over the rows, if it can."""
    passes = SELECTORS.traits(name).passes
    return passes(**SELECTORS.options(name, options)) if passes else None


class Selection(NamedTuple):
    """The chosen rows, best first: their indices (or ids), scores (float32; nan where a method has none), and why.

    Args:
        centroids: of the clusters that they were chosen by, for a later choice.
    """

    indices: Int[Tensor, " k"]
    scores: Float[Tensor, " k"]
    reasons: Sequence[str]
    centroids: Float[Tensor, "c d"] | None = None


@runtime_checkable
class Passes(Protocol):
    """Chooses in passes over rows; the indices are places, the ranks of the rows by id. `dsopt.selection.streams.rows`.

    The answer must not depend on how rows lie in parts, nor on the number of workers. It is that of the method in memory, or the
    method's docstring says what it is instead. Those of a method that needs scores, or `continues`, take these as the method does.
    """

    def __call__(self, rows: "Rows", budget: int, generator: Generator) -> Selection: ...


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
