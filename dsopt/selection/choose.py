"""Selection from tables: reads the columns that a method needs, block by block if the method allows, and returns the chosen ids."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.errors import InputError, unknown
from dsopt.files import read_table, retried
from dsopt.registry import SELECTORS
from dsopt.selection.balance import allocate, interleave
from dsopt.selection.balance import per_class as in_each_class
from dsopt.selection.contract import Selection, Stream, stream_of
from dsopt.selection.pca import principal
from dsopt.selection.reading import NONE, SHARD_ROWS, UNLABELLED, all_embeddings, blocks, embedding_size, keys_of, schema_of

CHOSEN = pa.schema([("id", pa.int64()), ("rank", pa.int32()), ("score", pa.float32()), ("reason", pa.string())])
ALL = 0  # the only group if selection is not per class

States = dict[int, Stream]
RunParts = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


def choose(
    parts: Sequence[storage.Part],
    name: str,
    options: Mapping[str, Any],
    budget: int | float,
    per_class: bool,
    seed: int,
    run_parts: RunParts = map,
    *,
    scores: Sequence[storage.Part] = (),
    pca: int | None = None,
    shard_rows: int = SHARD_ROWS,
    without: np.ndarray = NONE,
) -> pa.Table:
    """Select from a table with a registered method: the chosen ids, best first, with rank, score and reason (`CHOSEN`).

    The result does not depend on how rows are distributed over parts, on the order of the parts, or on `run_parts`. There is one
    exception: a method that needs all embeddings at once, when there are more than `shard_rows`. It then chooses in two rounds
    (see `_first_round`), from shards that consist of whole parts.

    Args:
        parts: files of an embeddings table; an images table suffices for methods that do not use embeddings.
        budget: a number of rows (int), or a fraction of the rows (float, rounded, at least one row).
        per_class: choose the same number from every class.
        run_parts: applies a picklable function to parts, possibly in other processes; yields small picklable results in any order.
        scores: files of a scores table, for methods that need one.
        pca: reduce the embeddings to this many principal components first.
        without: ids of rows that are left out, sorted; a fraction of the rows counts them all the same.

    Raises:
        InputError: the budget exceeds the rows, labels or scores are missing, embeddings are missing or not finite, or an id is
            not unique.
    """
    traits, method = SELECTORS.traits(name), SELECTORS.build(name, options)
    keys = keys_of([part for part in parts if part.rows], without)
    count = resolve(budget, sum(part.rows for part in parts), len(keys.ids))
    if (per_class or traits.labels) and (keys.labels == UNLABELLED).any():
        setting = f"select.name={name}" if traits.labels else "select.per_class=true"
        raise InputError(f"{setting} needs labels; {keys.parts[0].uri} and its like have rows without.")
    if (stream := stream_of(name, options)) and not pca:
        groups = keys.labels if per_class else np.full_like(keys.labels, ALL)
        return _table(_streamed(keys.parts, stream.start, _shares(groups, count), per_class, run_parts, without))
    reader = _Reader(without, traits.embeddings, _scores(scores, traits.scores, name) if traits.scores else None)
    chooser = _Chooser(method, per_class, pca if traits.embeddings else None, seed)
    if not traits.embeddings or len(keys.ids) <= shard_rows:
        return _table(chooser(reader(keys.parts), count))
    shards = _group(keys.parts, shard_rows)
    fraction = count / len(keys.ids)
    first = run_parts(functools.partial(_first_round, reader=reader, chooser=chooser, fraction=fraction), shards)
    return _table(chooser(_join(list(first)), count))


def _table(chosen: Selection) -> pa.Table:
    ranks = np.arange(len(chosen.indices), dtype=np.int32)
    return pa.table([chosen.indices.numpy(), ranks, chosen.scores.numpy(), list(chosen.reasons)], schema=CHOSEN)


# --- in memory -----------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Rows of the tables, sorted by id."""

    ids: Int[Tensor, " n"]
    embeddings: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    scores: Float[Tensor, "n s"] | None

    def take(self, rows: Int[Tensor, " k"]) -> "_Rows":
        scores = None if self.scores is None else self.scores[rows]
        return _Rows(self.ids[rows], self.embeddings[rows], self.labels[rows], scores)


class _Reader(NamedTuple):
    """Reads the rows of parts but those left out, with the embeddings and the scores that a method needs."""

    without: np.ndarray
    embeddings: bool
    scores: tuple[Int[Tensor, " n"], Float[Tensor, "n s"]] | None  # sorted ids, and their scores

    def __call__(self, parts: Sequence[storage.Part]) -> _Rows:
        keys = keys_of(parts, self.without)
        order = torch.from_numpy(np.argsort(keys.ids, kind="stable"))
        ids, labels = torch.tensor(keys.ids)[order], torch.tensor(keys.labels)[order]
        embeddings = all_embeddings(keys.parts, self.without)[order] if self.embeddings else torch.empty(len(ids), 0)
        if self.scores is None:
            return _Rows(ids, embeddings, labels, None)
        known, scores = self.scores
        found = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
        if not torch.equal(known[found], ids):
            missing = int(ids[known[found] != ids][0])
            raise InputError(f"{keys.parts[0].uri} and its like: the scores table has no id {missing}.")
        return _Rows(ids, embeddings, labels, scores[found])


class _Chooser(NamedTuple):
    """A method with its seed: (rows, count) -> the selection, with ids instead of indices."""

    method: Callable[..., Selection]
    per_class: bool
    pca: int | None
    seed: int

    def __call__(self, rows: _Rows, count: int) -> Selection:
        selector = functools.partial(in_each_class, self.method) if self.per_class else self.method
        selector = functools.partial(principal, selector, self.pca) if self.pca else selector
        scores = () if rows.scores is None else (rows.scores,)
        chosen = selector(rows.embeddings, rows.labels, count, torch.Generator().manual_seed(self.seed), *scores)
        return chosen._replace(indices=rows.ids[chosen.indices])


def _first_round(shard: Sequence[storage.Part], reader: _Reader, chooser: _Chooser, fraction: float) -> _Rows:
    """Select twice a shard's share of the budget with the method itself; the second round selects from these rows.

    GreeDi (Mirzasoleiman et al. 2013, arXiv:1605.09619, algorithm 2) selects the whole budget from every shard; with a budget of
    many percent of the rows, that would be nearly all of them.
    """
    rows = reader(shard)
    return rows.take(_at(rows.ids, chooser(rows, min(len(rows.ids), math.ceil(2 * fraction * len(rows.ids)))).indices))


def _at(ids: Int[Tensor, " n"], some: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    return torch.searchsorted(ids, some.sort().values)


def _group(parts: Sequence[storage.Part], most: int) -> list[list[storage.Part]]:
    """Group parts up to `most` rows; a part with more rows is a group of its own."""
    groups: list[list[storage.Part]] = [[]]
    for part in parts:
        if groups[-1] and sum(p.rows for p in groups[-1]) + part.rows > most:
            groups.append([])
        groups[-1].append(part)
    return groups


def _join(shards: Sequence[_Rows]) -> _Rows:
    ids, embeddings, labels, scores = zip(*shards, strict=True)
    rows = _Rows(torch.cat(ids), torch.cat(embeddings), torch.cat(labels), None if scores[0] is None else torch.cat(scores))
    return rows.take(rows.ids.argsort())


def _scores(parts: Sequence[storage.Part], names: Sequence[str], method: str) -> tuple[Tensor, Tensor]:
    if not parts:
        raise InputError(f"select.name={method} needs a scores table with {', '.join(names)}.")
    found = schema_of(parts[0]).names
    for name in names:
        if name not in found:
            raise unknown(f"{parts[0].uri}: column", name, found)
    # By column: one of them holds the probabilities of all classes.
    table = pa.concat_tables([read_table(part.uri, ["id", *names]) for part in parts])
    ids = torch.from_numpy(table["id"].to_numpy().copy())
    columns = torch.cat([_matrix(table[name]) for name in names], 1)
    if not columns.isfinite().all():
        raise InputError(f"{parts[0].uri}: a score is null or not finite; did the proxy's training diverge?")
    order = ids.argsort()
    return ids[order], columns[order]


def resolve(budget: int | float, rows: int, there: int | None = None) -> int:
    """The number of rows of a budget, of which a fraction is one of all rows.

    Args:
        there: how many rows can be chosen, where some are left out.

    Raises:
        InputError: it is not in 1 ... `there`.
    """
    if isinstance(budget, float) and not 0 < budget <= 1:
        raise InputError(f"select.budget={budget}: expected a share above 0 and at most 1, or a count without a decimal point.")
    count = max(round(budget * rows), 1) if isinstance(budget, float) else budget
    if there is not None and there < count <= rows:
        raise InputError(f"select.budget={budget}: {count:,} images, and select.drop leaves {there:,} of {rows:,}; give fewer.")
    if not 0 < count <= rows:
        raise InputError(f"select.budget={budget}: there are {rows} images; give 1 to {rows}, or a share.")
    return count


def _shares(groups: np.ndarray, count: int) -> dict[int, int]:
    """The number of rows to choose from each group, without groups that get none."""
    names, sizes = np.unique(groups, return_counts=True)
    shares = allocate(sizes.tolist(), count)
    return {name: share for name, share in zip(names.tolist(), shares, strict=True) if share}


def _matrix(column: pa.ChunkedArray) -> Float[Tensor, "n s"]:
    """A column of numbers, or of lists of equal length."""
    values = column.combine_chunks()
    flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
    return torch.from_numpy(flat.to_numpy(zero_copy_only=False).astype(np.float32)).view(len(values), -1)


# --- streaming -----------------------------------------------------------------------------------------------------


def _streamed(
    parts: list[storage.Part],
    start: Callable[..., Stream],
    shares: dict[int, int],
    by_label: bool,
    run_parts: RunParts,
    without: np.ndarray,
) -> Selection:
    size = embedding_size(parts[0])
    done: States = {}
    todo: States = {group: start(share, size) for group, share in shares.items()}
    while todo:
        _fold(todo, parts, by_label, run_parts, without)
        done |= {group: state for group, state in todo.items() if state.enough()}
        todo = {group: state.deeper() for group, state in todo.items() if group not in done}
    return interleave([done[group].result() for group in sorted(done)])


def _fold(states: States, parts: list[storage.Part], by_label: bool, run_parts: RunParts, without: np.ndarray) -> None:
    """Add all parts to the states.

    The first part is processed here, so that its thresholds already discard rows in all other parts, in whatever process these
    are. With the builtin `map`, which is lazy, each part starts from the thresholds of all parts before it.
    """
    fold = _PartFold(states, by_label, without)
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
