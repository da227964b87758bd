"""Methods whose answer one state gives, that is filled part by part and merged: `dsopt.selection.contract.Stream`."""

from collections.abc import Callable

import numpy as np
import torch

from dsopt import storage
from dsopt.files import retried
from dsopt.selection.balance import interleave
from dsopt.selection.contract import Selection, Stream
from dsopt.selection.reading import NONE, blocks, embedding_size
from dsopt.selection.streams.rows import RunParts

ALL = 0  # the only group if selection is not per class

States = dict[int, Stream]


def chosen_by_states(
    parts: list[storage.Part],
    start: Callable[..., Stream],
    shares: dict[int, int],
    by_label: bool,
    run_parts: RunParts,
    without: np.ndarray = NONE,
) -> Selection:
    """The choice of every group, a class or ALL, with its share of the budget, interleaved, without some ids; ids for `indices`."""
    size = embedding_size(parts[0])
    done: States = {}
    todo: States = {group: start(share, size) for group, share in shares.items()}
    while todo:
        _fold(todo, parts, _PartFold(todo, by_label, without), run_parts)
        done |= {group: state for group, state in todo.items() if state.enough()}
        todo = {group: state.deeper() for group, state in todo.items() if group not in done}
    return interleave([done[group].result() for group in sorted(done)])


def _fold(states: States, parts: list[storage.Part], fold: "_PartFold", run_parts: RunParts) -> None:
    """Add all parts to the states.

    The first part is processed here, so that its thresholds already discard rows in all other parts, in whatever process these
    are. With the builtin `map`, which is lazy, each part starts from the thresholds of all parts before it.
    """
    _merge(states, fold(parts[0]))
    fold.take_over(states)
    for more in run_parts(fold, parts[1:]) if parts[1:] else []:
        _merge(states, more)
        fold.take_over(states)


def _merge(states: States, more: States) -> None:
    for group, state in states.items():
        state.merge(more[group])


class _PartFold:
    """Maps a part to its states. Picklable and small: it carries the thresholds and the ids left out, no candidates."""

    def __init__(self, states: States, by_label: bool, without: np.ndarray) -> None:
        self.by_label, self.without = by_label, without
        self.take_over(states)

    def take_over(self, states: States) -> None:
        self.empties = {group: state.empty() for group, state in states.items()}

    def __call__(self, part: storage.Part) -> States:
        return _fold_part(part, self.empties, self.by_label, self.without)


@retried
def _fold_part(part: storage.Part, empties: States, by_label: bool, without: np.ndarray) -> States:
    states = {group: state.empty() for group, state in empties.items()}
    for ids, labels, embeddings in blocks(part, without):
        if not by_label:
            states[ALL].add(ids, embeddings)
            continue
        for label in np.unique(labels.numpy()).tolist():
            if label in states:
                rows = np.flatnonzero(labels.numpy() == label)  # NumPy, not torch: see `TopActivations`
                states[label].add(*(torch.from_numpy(column.numpy()[rows]) for column in (ids, embeddings)))
    return states
