"""Selection from tables: reads the columns that a method needs, block by block if the method allows, and returns the chosen ids."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.errors import InputError
from dsopt.registry import SELECTORS
from dsopt.selection.balance import allocate, interleave
from dsopt.selection.balance import per_class as in_each_class
from dsopt.selection.contract import Passes, Selection, passes_of, stream_of
from dsopt.selection.kernels.pca import principal
from dsopt.selection.reading import (
    NONE,
    SHARD_ROWS,
    UNLABELLED,
    Keys,
    all_embeddings,
    among,
    embedding_size,
    keys_of,
)
from dsopt.selection.scores import Scores, read_scores
from dsopt.selection.streams.continuing import continuing
from dsopt.selection.streams.rows import PartRows, RunParts, grouped_parts, take
from dsopt.selection.streams.states import ALL, chosen_by_states

CHOSEN = pa.schema([("id", pa.int64()), ("rank", pa.int32()), ("score", pa.float32()), ("reason", pa.string())])


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
    rounds: int = 1,
    device: str = "cpu",
    without: np.ndarray = NONE,
    kept: np.ndarray = NONE,
    centroids: Float[Tensor, "k d"] | None = None,
    keep: Callable[[Tensor], None] | None = None,
) -> pa.Table:
    """Select from a table with a registered method: the chosen ids, best first, with rank, score and reason (`CHOSEN`).

    The result does not depend on how rows are distributed over parts, on the order of the parts, or on `run_parts`. There is one
    exception: two rounds (see `_first_round`), where shards consist of whole parts.

    Args:
        parts: files of an embeddings table; an images table suffices for methods that do not use embeddings.
        budget: a number of rows (int), or a fraction of the rows (float, rounded, at least one row).
        per_class: choose the same number from every class.
        run_parts: applies a picklable function to items, possibly in other processes; yields small picklable results in any order.
        scores: files of a scores table, for methods that need one.
        pca: reduce the embeddings to this many principal components first.
        shard_rows: embeddings that one process holds at once.
        rounds: with more embeddings than that, 1: classes one after the other, or passes over the parts, for methods that can do
            so; 2: in two rounds, like all others.
        device: where embeddings are compared, by methods that can do so elsewhere than on the CPU.
        without: ids of rows that are left out, sorted; a fraction of the rows counts them all the same.
        kept: ids, sorted, of rows that are chosen already and are not chosen again; methods that continue take them into account.
        centroids: of the clusters that these were chosen by, for methods that have clusters.
        keep: is given the centroids of the clusters of such a method, if it chose from all rows together.

    Raises:
        InputError: the budget exceeds the rows, labels or scores are missing, embeddings are missing or not finite, or an id is
            not unique.
    """
    traits, method, passes = SELECTORS.traits(name), SELECTORS.build(name, options), passes_of(name, options)
    device = device if traits.gpu else "cpu"
    if len(kept):
        without = np.union1d(without, kept)
        if traits.continues and not pca:
            clusters = (None if per_class else centroids,) if traits.clusters else ()
            method, passes = continuing(parts, kept, per_class, method, passes, *clusters)
    keys = keys_of([part for part in parts if part.rows], without)
    count = resolve(budget, sum(part.rows for part in parts), len(keys.ids))
    if (per_class or traits.labels) and (keys.labels == UNLABELLED).any():
        setting = f"select.name={name}" if traits.labels else "select.per_class=true"
        raise InputError(f"{setting} needs labels; {keys.parts[0].uri} and its like have rows without.")
    if (stream := stream_of(name, options)) and not pca:
        groups = keys.labels if per_class else np.full_like(keys.labels, ALL)
        return _table(chosen_by_states(keys.parts, stream.start, _shares(groups, count), per_class, run_parts, without), keep)
    reader = _Reader(without, traits.embeddings, read_scores(scores, traits.scores, name) if traits.scores else None)
    chooser = _Chooser(method, per_class, pca if traits.embeddings else None, seed, device)
    if not traits.embeddings or len(keys.ids) <= shard_rows:
        return _table(chooser(reader(keys.parts), count), keep)
    if rounds == 1 and not pca:
        rows, ids = _rows_of_parts(keys, run_parts, device, without), torch.from_numpy(np.sort(keys.ids))
        shares = _shares(keys.labels if per_class else np.full_like(keys.labels, ALL), count)
        told = (reader.scores.of(ids, keys.parts[0].uri),) if reader.scores else ()
        one_by_one = _OneByOne(method, passes, shard_rows, device, told)
        if one_by_one.can(rows, per_class):
            chosen = one_by_one(rows, shares, per_class, torch.Generator().manual_seed(seed))
            return _table(chosen._replace(indices=ids[chosen.indices]), keep)
    shards = grouped_parts(keys.parts, shard_rows)
    fraction = count / len(keys.ids)
    first = run_parts(functools.partial(_first_round, reader=reader, chooser=chooser, fraction=fraction), shards)
    return _table(chooser(_join(list(first)), count), None)  # the clusters are those of what was offered


def _rows_of_parts(keys: Keys, run_parts: RunParts, device: str, without: np.ndarray) -> PartRows:
    """The rows of parts but some, to be seen in passes. Keys: of those that are left."""
    every = keys_of(keys.parts) if len(without) else keys
    rows = PartRows(every.parts, every.ids, every.labels, embedding_size(every.parts[0]), run_parts, device)
    return rows.within(torch.from_numpy(~among(np.sort(every.ids), without))) if len(without) else rows


def _table(chosen: Selection, keep: Callable[[Tensor], None] | None) -> pa.Table:
    if keep and chosen.centroids is not None:
        keep(chosen.centroids)
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
    """Reads the rows of parts but some, with the embeddings and the scores that a method needs."""

    without: np.ndarray
    embeddings: bool
    scores: Scores | None

    def __call__(self, parts: Sequence[storage.Part]) -> _Rows:
        keys = keys_of(parts, self.without)
        order = torch.from_numpy(np.argsort(keys.ids, kind="stable"))
        ids, labels = torch.tensor(keys.ids)[order], torch.tensor(keys.labels)[order]
        embeddings = all_embeddings(keys.parts, self.without)[order] if self.embeddings else torch.empty(len(ids), 0)
        scores = self.scores.of(ids, keys.parts[0].uri) if self.scores else None
        return _Rows(ids, embeddings, labels, scores)


class _Chooser(NamedTuple):
    """A method with its seed: (rows, count) -> the selection, with ids instead of indices."""

    method: Callable[..., Selection]
    per_class: bool
    pca: int | None
    seed: int
    device: str = "cpu"

    def __call__(self, rows: _Rows, count: int) -> Selection:
        selector = functools.partial(_placed, self.method, self.device)
        selector = functools.partial(in_each_class, selector) if self.per_class else selector
        selector = functools.partial(principal, selector, self.pca) if self.pca else selector
        scores = () if rows.scores is None else (rows.scores,)
        chosen = selector(rows.embeddings, rows.labels, count, torch.Generator().manual_seed(self.seed), *scores)
        return chosen._replace(indices=rows.ids[chosen.indices])


def _placed(method: Callable[..., Selection], device: str, embeddings: Tensor, *more: Any) -> Selection:
    """The choice of a method that compares embeddings on a device."""
    return method(embeddings.to(device), *more)


class _OneByOne(NamedTuple):
    """A method in one round with more rows than a process holds: class by class, and a class that is too large in passes.

    A class is chosen from exactly as in memory, by the same draws. As many classes as one process holds are read in one pass.
    """

    method: Callable[..., Selection]
    passes: Passes | None
    shard_rows: int
    device: str
    scores: tuple[Float[Tensor, "n s"], ...]  # of all rows, for a method that needs some

    def can(self, rows: PartRows, per_class: bool) -> bool:
        return self.passes is not None or (per_class and int(rows.labels.unique(return_counts=True)[1].max()) <= self.shard_rows)

    def __call__(self, rows: PartRows, shares: Mapping[int, int], per_class: bool, generator: torch.Generator) -> Selection:
        if not per_class:
            assert self.passes, "see can()"
            return self.passes(rows, shares[ALL], generator, *self.scores)
        chosen: list[Selection] = []
        for labels in self._together(rows, shares):
            places = torch.isin(rows.labels, torch.tensor(labels)).nonzero().squeeze(1)
            scores = tuple(some[places] for some in self.scores)
            if len(places) > self.shard_rows:
                assert self.passes, "see can()"
                inside = self.passes(rows.within(rows.labels == labels[0]), shares[labels[0]], generator, *scores)
                chosen.append(inside._replace(indices=places[inside.indices]))
                continue
            held, theirs = take(rows, places), rows.labels[places]
            for label in labels:
                own = (theirs == label).nonzero().squeeze(1)
                inside = _placed(
                    self.method, self.device, held[own], theirs[own], shares[label], generator, *(some[own] for some in scores)
                )
                chosen.append(inside._replace(indices=places[own[inside.indices]]))
        return interleave(chosen)

    def _together(self, rows: PartRows, shares: Mapping[int, int]) -> list[list[int]]:
        """Classes in order, as many as are held at once."""
        groups, held = [], self.shard_rows
        sizes = dict(zip(*(found.tolist() for found in rows.labels.unique(return_counts=True)), strict=True))
        for label in shares:
            if held + sizes[label] > self.shard_rows:
                groups.append([])
                held = 0
            groups[-1].append(label)
            held += sizes[label]
        return groups


def _first_round(shard: Sequence[storage.Part], reader: _Reader, chooser: _Chooser, fraction: float) -> _Rows:
    """Select twice a shard's share of the budget with the method itself; the second round selects from these rows.

    GreeDi (Mirzasoleiman et al. 2013, arXiv:1605.09619, algorithm 2) selects the whole budget from every shard; with a budget of
    many percent of the rows, that would be nearly all of them.
    """
    rows = reader(shard)
    return rows.take(_at(rows.ids, chooser(rows, min(len(rows.ids), math.ceil(2 * fraction * len(rows.ids)))).indices))


def _at(ids: Int[Tensor, " n"], some: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    return torch.searchsorted(ids, some.sort().values)


def _join(shards: Sequence[_Rows]) -> _Rows:
    ids, embeddings, labels, scores = zip(*shards, strict=True)
    rows = _Rows(torch.cat(ids), torch.cat(embeddings), torch.cat(labels), None if scores[0] is None else torch.cat(scores))
    return rows.take(rows.ids.argsort())


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
