"""Methods that choose further rows, given those that were chosen before."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.errors import InputError
from dsopt.selection.contract import Selection
from dsopt.selection.reading import of_ids
from dsopt.selection.streams.rows import Rows


class Kept(NamedTuple):
    """Embeddings of rows that were chosen before; of a class, where classes are chosen from one by one."""

    labels: Int[Tensor, " m"]
    embeddings: Float[Tensor, "m d"]
    per_class: bool
    centroids: tuple[Float[Tensor, "k d"] | None, ...]  # of a method that has clusters: those of the choice before, if it had some

    def among(self, labels: Int[Tensor, " n"]) -> Float[Tensor, "m d"]:
        """Those that a choice from rows of these labels takes into account."""
        return self.embeddings[self.labels == labels[0]] if self.per_class else self.embeddings


class InMemory(NamedTuple):
    """A selector that continues."""

    method: Callable[..., Selection]
    kept: Kept

    def __call__(self, embeddings: Tensor, labels: Tensor, budget: int, generator: torch.Generator) -> Selection:
        kept = self.kept.among(labels).to(embeddings.device)
        return self.method(embeddings, labels, budget, generator, kept, *self.kept.centroids)


class InPasses(NamedTuple):
    """Passes that continue."""

    passes: Callable[..., Selection]
    kept: Kept

    def __call__(self, rows: Rows, budget: int, generator: torch.Generator) -> Selection:
        return self.passes(rows, budget, generator, self.kept.among(rows.labels), *self.kept.centroids)


def continuing(
    parts: Sequence[storage.Part],
    kept: np.ndarray,
    per_class: bool,
    method: Callable[..., Selection],
    passes: Any,
    *centroids: Float[Tensor, "k d"] | None,
) -> tuple[InMemory, InPasses | None]:
    """A method, and its passes if it has some, that know the embeddings of the rows with the ids `kept`, sorted.

    Args:
        centroids: of the clusters of the choice before, or None, for a method that has clusters.

    Raises:
        InputError: the centroids are of embeddings of another size.
    """
    _, labels, embeddings = of_ids(parts, torch.from_numpy(kept))
    for some in centroids:
        if some is not None and some.shape[1] != embeddings.shape[1]:
            sizes = f"{some.shape[1]} numbers, which are now {embeddings.shape[1]}"
            raise InputError(f"select.extends: its clusters are of embeddings of {sizes}; expected the same embeddings.")
    found = Kept(labels, embeddings, per_class, centroids)
    return InMemory(method, found), InPasses(passes, found) if passes else None
