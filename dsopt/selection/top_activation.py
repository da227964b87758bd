"""The selection paper's method: the images with the highest activations of each element of the embedding."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt.selection.activations import activations, penalised
from dsopt.selection.contract import Selection, selector
from dsopt.selection.streams.costs import Cost, Size

CHUNK = 1 << 19  # values processed at a time: 2 MB, so that they stay in the CPU cache between two operations
SAMPLE = 64  # one row in 64 is looked at first, for a threshold that discards most rows from the start
ANY_ID, NO_ID = np.iinfo(np.int64).max, np.iinfo(np.int64).min

Ints: TypeAlias = Int[np.ndarray, " c"]
Floats: TypeAlias = Float[np.ndarray, " c"]


class TopActivations:
    """The best `depth` images of every element among all rows seen: a state that is filled block by block and can be merged.

    It is exact under the total order (-value, id), whatever the order of rows, blocks and merges. Memory is 16 bytes times elements
    times depth, and a few times that while it works. It uses NumPy, not torch: the operations are too short for torch's threads,
    which on shared cores wait for each other a hundred times longer than they work.
    """

    def __init__(self, budget: int, size: int, depth: int) -> None:
        self.budget, self.size, self.depth = budget, size, depth
        self.rows = 0
        # The bar is each element's threshold: a value enters if it is greater than the bar, or equal with a lower id. Once `depth`
        # images are kept, the bar is the value and id of the last of them.
        self.bar = np.full(size, -np.inf, dtype=np.float32)
        self.bar_id = np.full(size, ANY_ID)
        # Candidates sorted by id: keys, which combine element and value into one number that sorts best first, and ids.
        self.keys, self.ids = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.new: list[tuple[Ints, Ints]] = []
        self.num_new = 0

    @classmethod
    def start(cls, budget: int, size: int) -> "TopActivations":
        """A depth of k/n, as in Equation 4, plus a quarter, since images may be among the best of several elements."""
        return cls(budget, size, math.ceil(1.25 * budget / size) + 4)

    def deeper(self) -> "TopActivations":
        """A new state of twice the depth, without rows."""
        return TopActivations(self.budget, self.size, 2 * self.depth)

    def empty(self) -> "TopActivations":
        """A state of the same depth without rows, but with this one's bar; to be merged into this one."""
        other = TopActivations(self.budget, self.size, self.depth)
        other.bar, other.bar_id = self.bar, self.bar_id
        return other

    def add(self, ids: Int[Tensor, " b"], embeddings: Float[Tensor, "b d"]) -> None:
        """Add a block of rows; ids are unique, values finite."""
        if not self.rows and (self.bar_id == ANY_ID).all():
            self._guess_bar(embeddings)
        self.rows += len(ids)
        step = max(CHUNK // self.size, 1)
        for some_ids, chunk in zip(ids.split(step), embeddings.split(step), strict=True):
            self._add_chunk(some_ids.numpy(), np.ascontiguousarray(chunk.numpy()))

    def _guess_bar(self, embeddings: Float[Tensor, "b d"]) -> None:
        """Set the bar from a sample: the `depth` best of some rows are no better than the `depth` best of all, so it is safe."""
        step = max(min(SAMPLE, len(embeddings) // (16 * self.depth)), 1)
        sample = np.ascontiguousarray(embeddings[::step].numpy().T)
        last = sample.shape[1] - self.depth
        if last >= 0:
            best = np.partition(sample, last, axis=1)[:, last]
            self.bar, self.bar_id = np.nextafter(best, np.float32(-np.inf)), np.full(self.size, NO_ID)

    def _add_chunk(self, ids: Int[np.ndarray, " b"], chunk: Float[np.ndarray, "b d"]) -> None:
        # Rows mostly come with increasing ids, and then a value equal to the bar never enters. Equal values are compared by id only
        # for elements where one could enter.
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
        """Keep only the best `depth` of every element, and raise the bar to the last of these."""
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
        self.bar, self.bar_id = self.bar.copy(), self.bar_id.copy()  # other states may share them, see `empty`
        self.bar[full], self.bar_id[full] = _value(keys[last]), ids[last]
        kept = np.zeros(len(keys), dtype=bool)
        kept[order[ranks < self.depth]] = True
        self.keys, self.ids = keys[kept], ids[kept]

    def _ranked(self, keys: Ints) -> tuple[Ints, Ints, Ints]:
        """The order by element, value and id; then, in that order, the elements and the ranks within the elements."""
        order = np.argsort(keys, kind="stable")  # keys are sorted by id, so a stable sort breaks ties by id
        elements = keys[order] >> 32
        first = np.searchsorted(elements, np.arange(self.size))
        return order, elements, np.arange(len(keys)) - first[elements]

    def merge(self, other: "TopActivations") -> None:
        """Add the candidates of another state of the same depth that has seen other rows."""
        self.rows += other.rows
        for keys, ids in [(other.keys, other.ids), *other.new]:
            self._keep(keys, ids)

    def enough(self) -> bool:
        """Whether the kept images fill the budget: then no image at a greater depth can be chosen."""
        self._compact()
        return self.depth >= self.rows or len(np.unique(self.ids)) >= self.budget

    def result(self, names: Sequence[str] = ()) -> Selection:
        """Apply the fill rule: rank by rank, and within a rank element by element, take the image there unless it is taken already.

        Args:
            names: names of the elements, for the reasons.
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
    """One int64 that sorts by element, then by decreasing value.

    The bits of float32 numbers, read as integers, sort like the numbers if they are positive, and in reverse if negative.
    """
    bits = (values + np.float32(0)).view(np.int32)  # -0 becomes 0
    rising = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (elements << 32) | (0x7FFFFFFF - rising.astype(np.int64))


def _value(keys: Ints) -> Floats:
    """The values of keys: the inverse of `_key`."""
    rising = (0x7FFFFFFF - (keys & 0xFFFFFFFF)).astype(np.int32)
    return (rising ^ ((rising >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)


def _stream(both_tails: bool, standardise: bool, penalty: bool, pairs: int) -> type[TopActivations] | None:
    """The streaming state, or None with options that compare an image with all others: these need all rows at once."""
    return None if both_tails or standardise or penalty or pairs else TopActivations


def _cost(at: Size, both_tails: bool, standardise: bool, penalty: bool, pairs: int) -> Cost:
    return Cost(touched=2 * at.rows * at.size, passes=1.2, memory=64 * at.budget + (1 << 26))


@selector(stream=_stream, cost=_cost)
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

    Equation 4 is the union of the best k/n images of each of n elements. These overlap, so there are fewer than k. The fill rule
    gives exactly k: take the best image of element 0, of element 1, ..., then the second best of each, and so on, without images
    already taken, until there are k. Ties are broken by the lowest row. The score is the activation.

    Args:
        both_tails: also take the images that activate each element least; their score is the negative activation.
        standardise: first scale elements to zero mean and unit standard deviation. This does not change the ranking by a single
            element; it changes that by pairs, which compare two elements, and the penalty, which divides.
        penalty: images with many high activations count less, as the paper's discussion proposes: an activation is divided by
            1 + the number of other elements (or pairs) that have the image among their best k/n.
        pairs: the number of pairs of elements that rank images, too, as Section 4.3 proposes for combinations. The activation of a
            pair is that of its weaker element, so both must be high. All elements occur equally often.
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
