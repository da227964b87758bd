"""Methods whose answer one state gives, that is filled part by part and merged: `dsopt.selection.contract.Stream`."""

from collections.abc import Callable

import numpy as np
import torch

from dsopt import storage
from dsopt.files import retried
from dsopt.selection.balance import interleave
from dsopt.selection.contract import Selection, Stream
from dsopt.selection.reading import blocks, embedding_size
from dsopt.selection.streams.rows import RunParts

ALL = 0  # the only group if selection is not per class

States = dict[int, Stream]


def chosen_by_states(
    parts: list[storage.Part], start: Callable[..., Stream], shares: dict[int, int], by_label: bool, run_parts: RunParts
) -> Selection:
    """The choice of every group, a class or ALL, with its share of the budget, interleaved; ids for `indices`."""
    size = embedding_size(parts[0])
    done: States = {}
    todo: States = {group: start(share, size) for group, share in shares.items()}
    while todo:
        _fold(todo, parts, by_label, run_parts)
        done |= {group: state for group, state in todo.items() if state.enough()}
        todo = {group: state.deeper() for group, state in todo.items() if group not in done}
    return interleave([done[group].result() for group in sorted(done)])


def _fold(states: States, parts: list[storage.Part], by_label: bool, run_parts: RunParts) -> None:
    """Add all parts to the states.

    The first part is processed here, so that its thresholds already discard rows in all other parts, in whatever process these
    are. With the builtin `map`, which is lazy, each part starts from the thresholds of all parts before it.
    """
    fold = _PartFold(states, by_label)
    _merge(states, fold(parts[0]))
    fold.take_over(states)
    for more in run_parts(fold, parts[1:]) if parts[1:] else []:
        _merge(states, more)
        fold.take_over(states)


def _merge(states: States, more: States) -> None:
    for group, state in states.items():
        state.merge(more[group])


class _PartFold:
    """Maps a part to its states. Picklable and small: it carries the thresholds, no candidates."""

    def __init__(self, states: States, by_label: bool) -> None:
        self.by_label = by_label
        self.take_over(states)

    def take_over(self, states: States) -> None:
        self.empties = {group: state.empty() for group, state in states.items()}

    def __call__(self, part: storage.Part) -> States:
        return _fold_part(part, self.empties, self.by_label)


@retried
def _fold_part(part: storage.Part, empties: States, by_label: bool) -> States:
    states = {group: state.empty() for group, state in empties.items()}
    for ids, labels, embeddings in blocks(part):
        if not by_label:
            states[ALL].add(ids, embeddings)
            continue
        for label in np.unique(labels.numpy()).tolist():
            if label in states:
                rows = np.flatnonzero(labels.numpy() == label)  # NumPy, not torch: see `TopActivations`
                states[label].add(*(torch.from_numpy(column.numpy()[rows]) for column in (ids, embeddings)))
    return states
