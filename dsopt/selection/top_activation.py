"""The selection paper's method: the images that activate each element of the embedding most."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.activations import activations, penalised
from dsopt.selection.contract import Selection, selector

CHUNK = 1 << 19  # values looked at together: 2 MB, so that they stay in the cache between two operations
SAMPLE = 64  # one row in so many is looked at first, to know early what is not worth keeping
ANY_ID, NO_ID = np.iinfo(np.int64).max, np.iinfo(np.int64).min

Ints: TypeAlias = Int[np.ndarray, " c"]
Floats: TypeAlias = Float[np.ndarray, " c"]


class TopActivations:
    """The best `depth` images of every element, of all the rows seen: a state that can be filled in pieces and merged.

    Exact under the total order (-value, id), whatever the order of rows, blocks and merges. Memory: 16 bytes times
    elements times depth, and while it works a few times that. NumPy, not torch: the operations are too short for threads,
    which wait for each other a hundred times longer than they work where cores are shared.
    """

    def __init__(self, budget: int, size: int, depth: int) -> None:
        self.budget, self.size, self.depth = budget, size, depth
        self.rows = 0
        # A value enters if it is greater than its element's bar, or equal with a lower id. Once `depth` images are
        # kept, the bar is the last of them.
        self.bar = np.full(size, -np.inf, dtype=np.float32)
        self.bar_id = np.full(size, ANY_ID)
        # Candidates in order of id: element and value in one number that sorts best first, and the id.
        self.keys, self.ids = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.new: list[tuple[Ints, Ints]] = []
        self.num_new = 0

    @classmethod
    def start(cls, budget: int, size: int) -> "TopActivations":
        """As deep as Equation 4 goes, and a quarter more for images that are among the best of several elements."""
        return cls(budget, size, math.ceil(1.25 * budget / size) + 4)

    def deeper(self) -> "TopActivations":
        """A new start of twice the depth."""
        return TopActivations(self.budget, self.size, 2 * self.depth)

    def empty(self) -> "TopActivations":
        """A state of the same depth that has seen nothing but has this one's bar: to be merged into this one."""
        other = TopActivations(self.budget, self.size, self.depth)
        other.bar, other.bar_id = self.bar, self.bar_id
        return other

    def add(self, ids: Int[Tensor, " b"], embeddings: Float[Tensor, "b d"]) -> None:
        """Take in a block of rows; every id comes once, values must be finite."""
        if not self.rows and (self.bar_id == ANY_ID).all():
            self._guess_bar(embeddings)
        self.rows += len(ids)
        step = max(CHUNK // self.size, 1)
        for some_ids, chunk in zip(ids.split(step), embeddings.split(step), strict=True):
            self._add_chunk(some_ids.numpy(), np.ascontiguousarray(chunk.numpy()))

    def _guess_bar(self, embeddings: Float[Tensor, "b d"]) -> None:
        """The `depth` best of a part of the rows are no better than those of all."""
        step = max(min(SAMPLE, len(embeddings) // (16 * self.depth)), 1)
        sample = np.ascontiguousarray(embeddings[::step].numpy().T)
        last = sample.shape[1] - self.depth
        if last >= 0:
            best = np.partition(sample, last, axis=1)[:, last]
            self.bar, self.bar_id = np.nextafter(best, np.float32(-np.inf)), np.full(self.size, NO_ID)

    def _add_chunk(self, ids: Int[np.ndarray, " b"], chunk: Float[np.ndarray, "b d"]) -> None:
        # Rows mostly come by rising id, and then an equal value never enters: only where one could, is it looked at.
        could_tie = self.bar_id > ids.min()
        lowest = np.where(could_tie, self.bar, np.nextafter(self.bar, np.float32(np.inf)))
        found = np.flatnonzero(chunk >= lowest)
        rows = found // self.size
        elements, values, their_ids = found - rows * self.size, chunk.ravel()[found], ids[rows]
        if could_tie.any():
            enters = (values > self.bar[elements]) | (their_ids < self.bar_id[elements])
            elements, values, their_ids = elements[enters], values[enters], their_ids[enters]
        self._keep(_key(elements, values), their_ids)

    def _keep(self, keys: Ints, ids: Ints) -> None:
        self.new.append((keys, ids))
        self.num_new += len(keys)
        if self.num_new > self.size * self.depth:
            self._compact()

    def _compact(self) -> None:
        """Drop all but the best `depth` of every element, and raise the bar to the last of these."""
        if not self.new:
            return
        keys = np.concatenate([self.keys, *(keys for keys, _ in self.new)])
        ids = np.concatenate([self.ids, *(ids for _, ids in self.new)])
        self.new, self.num_new = [], 0
        if (ids[1:] < ids[:-1]).any():
            order = np.argsort(ids, kind="stable")
            keys, ids = keys[order], ids[order]
        order, elements, ranks = self._ranked(keys)
        last = order[ranks == self.depth - 1]
        full = elements[ranks == self.depth - 1]
        self.bar, self.bar_id = self.bar.copy(), self.bar_id.copy()  # others may share them, see `empty`
        self.bar[full], self.bar_id[full] = _value(keys[last]), ids[last]
        kept = np.zeros(len(keys), dtype=bool)
        kept[order[ranks < self.depth]] = True
        self.keys, self.ids = keys[kept], ids[kept]

    def _ranked(self, keys: Ints) -> tuple[Ints, Ints, Ints]:
        """The order by element and value, equal ones by id; in it the elements, and the rank of each in its element."""
        order = np.argsort(keys, kind="stable")  # the keys are in order of id
        elements = keys[order] >> 32
        first = np.searchsorted(elements, np.arange(self.size))
        return order, elements, np.arange(len(keys)) - first[elements]

    def merge(self, other: "TopActivations") -> None:
        """Take in what another state of the same depth has kept of other rows."""
        self.rows += other.rows
        for keys, ids in [(other.keys, other.ids), *other.new]:
            self._keep(keys, ids)

    def enough(self) -> bool:
        """Whether the kept ones fill the budget: then no image deeper down can be chosen."""
        self._compact()
        return self.depth >= self.rows or len(np.unique(self.ids)) >= self.budget

    def result(self, names: Sequence[str] = ()) -> Selection:
        """The fill rule: rank by rank, and in a rank element by element, the image there unless already chosen.

        Args:
            names: of the elements, for the reasons.
        """
        self._compact()
        order, elements, ranks = self._ranked(self.keys)
        turn = order[np.argsort(ranks * self.size + elements)]
        _, first = np.unique(self.ids[turn], return_index=True)
        chosen = turn[np.sort(first)[: self.budget]]
        keys = self.keys[chosen]
        names = list(names) or [f"element {element}" for element in range(self.size)]
        scores = torch.from_numpy(_value(keys))
        return Selection(torch.from_numpy(self.ids[chosen]), scores, [names[int(element)] for element in keys >> 32])


def _key(elements: Ints, values: Floats) -> Ints:
    """One number that sorts by element, then by falling value: the bits of a float32 are in order, but for the sign."""
    bits = (values + np.float32(0)).view(np.int32)  # -0 becomes 0
    rising = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (elements << 32) | (0x7FFFFFFF - rising.astype(np.int64))


def _value(keys: Ints) -> Floats:
    rising = (0x7FFFFFFF - (keys & 0xFFFFFFFF)).astype(np.int32)
    return (rising ^ ((rising >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)


def _stream(both_tails: bool, standardise: bool, penalty: bool, pairs: int) -> type[TopActivations] | None:
    """The options compare an image with all others before any choice: then all must be there at once."""
    return None if both_tails or standardise or penalty or pairs else TopActivations


@selector(stream=_stream)
def top_activation(
    embeddings: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    budget: int,
    generator: torch.Generator,
    *,
    both_tails: bool = False,
    standardise: bool = False,
    penalty: bool = False,
    pairs: int = 0,
) -> Selection:
    """Take the images that activate each element of the embedding most (the selection paper, Section 4.3, Equation 4).

    Equation 4 unites the best k/n images of each of n elements; as these overlap, that is fewer than k. The fill rule
    makes it exactly k: the best image of element 0, of element 1, ..., then the second best of each, and so on, leaving
    out those already chosen, until there are k. Equal activations go by the lowest row. The score is the activation.

    Args:
        both_tails: also the images that activate each element least; the score is then the negative activation.
        standardise: elements to zero mean and unit deviation first. No element ranks images differently for that; pairs do, as they
            compare two elements, and so does the penalty, as it divides.
        penalty: images with many highly active features count less, as the paper's discussion proposes: an activation is divided by
            1 + the number of other elements (or pairs) that have the image among their best k/n.
        pairs: so many pairs of elements choose as well, as Section 4.3 proposes for combinations. A pair is as active as the weaker
            of its elements, so that it finds images that have both. All elements come equally often.
    """
    values, names = embeddings, ()
    if not _stream(both_tails, standardise, penalty, pairs):
        values, names = activations(embeddings, both_tails, standardise, pairs)
        values = penalised(values, math.ceil(budget / len(names))) if penalty else values
    ids = torch.arange(len(values))
    state = TopActivations.start(budget, values.shape[1])
    state.add(ids, values)
    while not state.enough():
        state = state.deeper()
        state.add(ids, values)
    return state.result(names)
