"""Methods that choose further rows, given those that were chosen before."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.selection.contract import Selection
from dsopt.selection.reading import of_ids
from dsopt.selection.streams.rows import Rows


class Kept(NamedTuple):
    """Embeddings of rows that were chosen before; of a class, where classes are chosen from one by one."""

    labels: Int[Tensor, " m"]
    embeddings: Float[Tensor, "m d"]
    per_class: bool

    def among(self, labels: Int[Tensor, " n"]) -> Float[Tensor, "m d"]:
        """Those that a choice from rows of these labels takes into account."""
        return self.embeddings[self.labels == labels[0]] if self.per_class else self.embeddings


class InMemory(NamedTuple):
    """A selector that continues."""

    method: Callable[..., Selection]
    kept: Kept

    def __call__(self, embeddings: Tensor, labels: Tensor, budget: int, generator: torch.Generator) -> Selection:
        return self.method(embeddings, labels, budget, generator, self.kept.among(labels).to(embeddings.device))


class InPasses(NamedTuple):
    """Passes that continue."""

    passes: Callable[..., Selection]
    kept: Kept

    def __call__(self, rows: Rows, budget: int, generator: torch.Generator) -> Selection:
        return self.passes(rows, budget, generator, self.kept.among(rows.labels))


def continuing(
    parts: Sequence[storage.Part], kept: np.ndarray, per_class: bool, method: Callable[..., Selection], passes: Any
) -> tuple[InMemory, InPasses | None]:
    """A method, and its passes if it has some, that know the embeddings of the rows with the ids `kept`, sorted."""
    _, labels, embeddings = of_ids(parts, torch.from_numpy(kept))
    found = Kept(labels, embeddings, per_class)
    return InMemory(method, found), InPasses(passes, found) if passes else None
