"""From tables to the choice: reads what a method needs, in blocks where it can, and says which ids are chosen."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.errors import InputError, unknown
from dsopt.files import filesystem, read_table, retried
from dsopt.registry import SELECTORS
from dsopt.selection.balance import allocate, interleave
from dsopt.selection.balance import per_class as in_each_class
from dsopt.selection.contract import Selection, Stream, stream_of
from dsopt.selection.pca import principal

CHOSEN = pa.schema([("id", pa.int64()), ("rank", pa.int32()), ("score", pa.float32()), ("reason", pa.string())])
BLOCK = 1 << 21  # values decoded together: 8 MB
READ_BYTES = 1 << 24  # fetched together
UNLABELLED = -1
SHARD_ROWS = 1_000_000  # embeddings that a method sees at once: 864 MB of 216 elements
ALL = 0  # the one group when classes do not matter

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
) -> pa.Table:
    """Select from a table: the ids chosen by a registered method, best first, with rank, score and reason (`CHOSEN`).

    The answer does not depend on how the rows are spread over parts, on the order of the parts, or on `run_parts`; except that
    of a method that must see all embeddings at once when there are more than `shard_rows`: it chooses in two rounds (see
    `_first_round`), and its shards are made of whole parts.

    Args:
        parts: files of an embeddings table; of an images table will do for methods that look at no embeddings.
        budget: how many (an int), or what share of the rows (a float, rounded, at least one).
        per_class: choose the same number from every class.
        run_parts: applies a picklable function to parts, perhaps elsewhere; small picklable results, in any order.
        scores: files of a scores table, for methods that need one.
        pca: look only at this many principal components of the embeddings.

    Raises:
        InputError: more wanted than there are, labels missing, embeddings missing or not finite, an id twice, scores missing.
    """
    traits, method = SELECTORS.traits(name), SELECTORS.build(name, options)
    keys = _keys([part for part in parts if part.rows])
    count = resolve(budget, len(keys.ids))
    if (per_class or traits.labels) and (keys.labels == UNLABELLED).any():
        asked = f"select.name={name}" if traits.labels else "select.per_class=true"
        raise InputError(f"{asked} needs labels; {keys.parts[0].uri} and its like have rows without.")
    if (stream := stream_of(name, options)) and not pca:
        groups = keys.labels if per_class else np.full_like(keys.labels, ALL)
        return _table(_streamed(keys.parts, stream.start, _shares(groups, count), per_class, run_parts))
    reader = _Reader(traits.embeddings, _scores(scores, traits.scores, name) if traits.scores else None)
    chooser = _Chooser(method, per_class, pca if traits.embeddings else None, seed)
    if not traits.embeddings or len(keys.ids) <= shard_rows:
        return _table(chooser(reader(keys.parts), count))
    shards = _group(keys.parts, shard_rows)
    of_all = count / len(keys.ids)
    first = run_parts(functools.partial(_first_round, reader=reader, chooser=chooser, share=of_all), shards)
    return _table(chooser(_join(list(first)), count))


# --- in memory -----------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Rows of the tables, by rising id."""

    ids: Int[Tensor, " n"]
    embeddings: Float[Tensor, "n d"]
    labels: Int[Tensor, " n"]
    scores: Float[Tensor, "n s"] | None

    def take(self, rows: Int[Tensor, " k"]) -> "_Rows":
        scores = None if self.scores is None else self.scores[rows]
        return _Rows(self.ids[rows], self.embeddings[rows], self.labels[rows], scores)


class _Reader(NamedTuple):
    """Parts -> their rows, with the embeddings and the scores that a method needs."""

    embeddings: bool
    scores: tuple[Int[Tensor, " n"], Float[Tensor, "n s"]] | None  # ids, in order, and what is known of them

    def __call__(self, parts: Sequence[storage.Part]) -> _Rows:
        keys = _keys(parts)
        order = torch.from_numpy(np.argsort(keys.ids, kind="stable"))
        ids, labels = torch.tensor(keys.ids)[order], torch.tensor(keys.labels)[order]
        embeddings = _all_embeddings(keys.parts)[order] if self.embeddings else torch.empty(len(ids), 0)
        if self.scores is None:
            return _Rows(ids, embeddings, labels, None)
        known, scores = self.scores
        found = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
        if not torch.equal(known[found], ids):
            missing = int(ids[known[found] != ids][0])
            raise InputError(f"{keys.parts[0].uri} and its like: the scores table has no id {missing}.")
        return _Rows(ids, embeddings, labels, scores[found])


class _Chooser(NamedTuple):
    """A method with its seed: rows, count -> the choice, with ids for indices."""

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


def _first_round(shard: Sequence[storage.Part], reader: _Reader, chooser: _Chooser, share: float) -> _Rows:
    """Twice its share of the budget from a shard, by the method itself: of these the second round chooses.

    GreeDi (Mirzasoleiman et al. 2013, arXiv:1605.09619, algorithm 2) takes the whole budget from every shard; with budgets of many
    per cent of the rows that would be nearly all of them.
    """
    rows = reader(shard)
    return rows.take(_at(rows.ids, chooser(rows, min(len(rows.ids), math.ceil(2 * share * len(rows.ids)))).indices))


def _at(ids: Int[Tensor, " n"], some: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    return torch.searchsorted(ids, some.sort().values)


def _group(parts: Sequence[storage.Part], most: int) -> list[list[storage.Part]]:
    """Parts in groups of at most `most` rows; a part that alone has more is a group."""
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
    table = pa.concat_tables([read_table(part.uri) for part in parts])
    for name in names:
        if name not in table.column_names:
            raise unknown(f"{parts[0].uri}: column", name, table.column_names)
    ids = torch.from_numpy(table["id"].to_numpy().copy())
    columns = torch.cat([_matrix(table[name]) for name in names], 1)
    if not columns.isfinite().all():
        raise InputError(f"{parts[0].uri}: a score is null or not finite; did the proxy's training diverge?")
    order = ids.argsort()
    return ids[order], columns[order]


def resolve(budget: int | float, rows: int) -> int:
    """How many rows a budget means.

    Raises:
        InputError: none, or more than there are.
    """
    if isinstance(budget, float) and not 0 < budget <= 1:
        raise InputError(f"select.budget={budget}: a share is above 0 and at most 1; a count has no point.")
    count = max(round(budget * rows), 1) if isinstance(budget, float) else budget
    if not 0 < count <= rows:
        raise InputError(f"select.budget={budget}: there are {rows} images; give 1 to {rows}, or a share.")
    return count


class _Keys(NamedTuple):
    parts: list[storage.Part]  # by rising id, as far as they do not overlap: then streaming need not look at ties
    ids: np.ndarray
    labels: np.ndarray


def _keys(parts: Sequence[storage.Part]) -> _Keys:
    """The ids and labels of all rows, in the order of the parts returned: 16 bytes a row."""
    tables = {part: read_table(part.uri, ["id", "label"]) for part in parts}
    if not tables:
        raise InputError("selection: the table has no rows.")
    by_id = sorted(parts, key=lambda part: tables[part]["id"].to_numpy().min())
    table = pa.concat_tables([tables[part] for part in by_id])
    ids = table["id"].to_numpy()
    ordered = np.sort(ids, kind="stable")  # linear where they are in order already
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise InputError(f"{by_id[0].uri} and its like: the id {twice} comes twice; ids must be unique.")
    return _Keys(by_id, ids, table["label"].fill_null(UNLABELLED).to_numpy())


def _shares(groups: np.ndarray, count: int) -> dict[int, int]:
    """How many to choose from each group; groups that get none are left out."""
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
    parts: list[storage.Part], start: Callable[..., Stream], shares: dict[int, int], by_label: bool, run_parts: RunParts
) -> Selection:
    size = _embedding_size(parts[0])
    done: States = {}
    todo: States = {group: start(share, size) for group, share in shares.items()}
    while todo:
        _fold(todo, parts, by_label, run_parts)
        done |= {group: state for group, state in todo.items() if state.enough()}
        todo = {group: state.deeper() for group, state in todo.items() if group not in done}
    return interleave([done[group].result() for group in sorted(done)])


def _fold(states: States, parts: list[storage.Part], by_label: bool, run_parts: RunParts) -> None:
    """Show all parts to the states.

    The first part is done here: what it shows to be hopeless is then dropped at once in all the others, wherever they
    are done. With the builtin `map`, which is lazy, each part even starts from what all those before it have shown.
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
    """One part -> its states. Picklable and small: it carries no candidates."""

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
    for ids, labels, embeddings in _blocks(part):
        if not by_label:
            states[ALL].add(ids, embeddings)
            continue
        for label in np.unique(labels.numpy()).tolist():
            if label in states:
                rows = np.flatnonzero(labels.numpy() == label)  # NumPy, for the reason given in `TopActivations`
                states[label].add(*(torch.from_numpy(column.numpy()[rows]) for column in (ids, embeddings)))
    return states


# --- reading -------------------------------------------------------------------------------------------------------


@retried
def _embedding_size(part: storage.Part) -> int:
    system, path = filesystem(part.uri)
    with system.open_input_file(path) as file:
        schema = pq.read_schema(file)
    if "embedding" not in schema.names:
        raise InputError(f"{part.uri}: has no column `embedding`; the columns are {', '.join(schema.names)}.")
    return schema.field("embedding").type.shape[0]


def _blocks(part: storage.Part) -> Iterator[tuple[Int[Tensor, " b"], Int[Tensor, " b"], Float[Tensor, "b d"]]]:
    """The ids, labels and embeddings of a part, a few MB at a time however large it is."""
    size = _embedding_size(part)
    system, path = filesystem(part.uri)
    # pre_buffer, pyarrow's default, would hold a whole row group's bytes, and that may be the whole file.
    reader = functools.partial(pq.ParquetFile, buffer_size=READ_BYTES, pre_buffer=False)
    with system.open_input_file(path) as file, reader(file) as parquet:
        for batch in parquet.iter_batches(max(BLOCK // size, 1), columns=["id", "label", "embedding"]):
            column = batch.column("embedding")
            values = column.storage.flatten()
            if column.null_count or values.null_count or not _finite(values.to_numpy()):
                raise InputError(f"{part.uri}: an embedding is null or not finite; did its training diverge?")
            embeddings = torch.from_dlpack(values).view(-1, size)
            ids = torch.from_dlpack(batch.column("id"))
            labels = torch.from_dlpack(batch.column("label").fill_null(UNLABELLED))
            yield ids, labels, embeddings


def _finite(values: Float[np.ndarray, " c"]) -> bool:
    """Whether all are; a finite sum is enough to know, and faster."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


@retried
def _all_embeddings(parts: Sequence[storage.Part]) -> Float[Tensor, "n d"]:
    return torch.cat([embeddings for part in parts for _, _, embeddings in _blocks(part)])


def _table(chosen: Selection) -> pa.Table:
    ranks = np.arange(len(chosen.indices), dtype=np.int32)
    return pa.table([chosen.indices.numpy(), ranks, chosen.scores.numpy(), list(chosen.reasons)], schema=CHOSEN)
