"""A data set before ingest: shards of rows, where a row's id is its position in the source."""

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dsopt import schemes
from dsopt.config import DataConfig
from dsopt.data.sources.labels import is_whole, values
from dsopt.data.sources.listing import PassedOver
from dsopt.errors import InputError, first_line
from dsopt.registry import DATASETS

SHARD_ROWS = 4096  # a shard is one unit of work: large enough to outweigh starting a task, small enough to retry

Arrays = dict[str | None, tuple[np.ndarray, np.ndarray]]  # split -> uint8 images [n, h, w] or [n, h, w, c], labels [n]


class Place(NamedTuple):
    """Where the bytes of an image lie: a whole file, `length` bytes of one from `offset`, or a row of a Parquet file."""

    uri: str
    offset: int | None = None
    length: int | None = None
    row: int | None = None


class SourceRow(NamedTuple):
    """One image as it is in the source.

    Args:
        key: human-readable name: the file's path below the root, or "file#row".
        place: where the original lies; None if it is no encoded file, such as an array.
    """

    image: bytes | np.ndarray | None
    label: int | float | str | None
    key: str
    place: Place | None = None


@dataclass(frozen=True)
class Shard:
    """Consecutive rows of a source. Row i has the id `first_id + i`, even if rows before it are broken.

    Args:
        split: "train" or "test"; None if the source does not say.
        read: picklable, so that any process can read the shard.
        rows: the number of rows that `read` yields.
        labelled: the source has labels, so a row without one is broken.
        labels: the labels of its rows alone, as `read` gives them; None if they cannot be read without the images.
    """

    split: str | None
    first_id: int
    read: Callable[[], Iterator[SourceRow]]
    rows: int
    labelled: bool = True
    labels: Callable[[], pa.Array] | None = None


Listing = tuple[list[Shard], list[str] | None]  # the shards, and the class names if labels have names


@dataclass(frozen=True)
class Findings:
    """What a look at a source found besides its images, for the table that is printed before any work.

    Args:
        hints: one line each: columns, partitions or metadata files that may hold labels and were not used; which split tests.
        counts: for each split (None where the source has none) the images of each class, or their number alone if they have no
            labels; None if counting would read the data. Images without a label, in a split with labels, are not counted.
    """

    passed_over: tuple[PassedOver, ...] = ()
    hints: tuple[str, ...] = ()
    counts: dict[str | None, dict[str, int] | int] | None = None


@dataclass(frozen=True)
class Source:
    """A data set that was found.

    Args:
        fingerprint: plain values that change with the content: digests of labels and footers, names, sizes, times or ETags.
        remote: it is on an object store, so every node of a cluster can read it.
        list_shards: returns the shards and the class names (index = label; None if labels are numbers without names).
        look: what else was found; `find` adds the counts. May read labels and footers, not images.
    """

    fingerprint: dict[str, Any]
    remote: bool
    list_shards: Callable[[], Listing]
    look: Callable[[], Findings] = Findings


def find(data: DataConfig) -> Source:
    """The source that a configuration names, limited to `data.limit` rows of each split.

    Raises:
        InputError: nothing usable is there; the message says what was expected where.
    """
    try:
        source = DATASETS.build(data.name, data.options)(data)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, OSError) or (data.root and schemes.by_fsspec(data.root)):  # whose packages raise errors of their own
            raise InputError(f"data.root={data.root}: cannot be read: {first_line(error)}") from None
        raise
    list_shards = source.list_shards
    if data.limit is not None:
        list_shards = functools.partial(_list_limited, list_shards, data.limit)
    return replace(source, list_shards=list_shards, look=functools.partial(_look, list_shards, source.look))


def _look(list_shards: Callable[[], Listing], look: Callable[[], Findings]) -> Findings:
    return replace(look(), counts=count(*list_shards()))


def count(shards: list[Shard], classes: list[str] | None) -> dict[str | None, dict[str, int] | int] | None:
    """The images of each class by split, or their number without labels; None if the labels of a shard are not at hand."""
    counts: dict[str | None, dict[str, int] | int] = {}
    for shard in shards:
        if not shard.labelled:
            before = counts.get(shard.split, 0)
            counts[shard.split] = shard.rows + (before if isinstance(before, int) else 0)
            continue
        if shard.labels is None:
            return None
        found = counts.setdefault(shard.split, {})
        assert isinstance(found, dict)
        for value, rows in values(shard.labels()).items():
            name = value if isinstance(value, str) else _named(value, classes)
            found[name] = found.get(name, 0) + rows
    return counts


def _named(number: int | float, classes: list[str] | None) -> str:
    whole = int(number) if is_whole(number) else number
    return classes[whole] if classes and isinstance(whole, int) and whole < len(classes) else str(whole)


def _list_limited(list_shards: Callable[[], Listing], limit: int) -> Listing:
    shards, classes = list_shards()
    return limit_shards(shards, limit), classes


def limit_shards(shards: list[Shard], limit: int) -> list[Shard]:
    """Keep `limit` rows of every split: the first ones, or, if these lack a class, as many of every class as there are."""
    kept = []
    for split in dict.fromkeys(shard.split for shard in shards):
        own = [shard for shard in shards if shard.split == split]
        kept += _spread(own, limit) or _cut(own, limit)
    return kept


def _cut(shards: list[Shard], limit: int) -> list[Shard]:
    kept = []
    for shard in shards:
        rows = min(shard.rows, limit)
        limit -= rows
        if rows == shard.rows:
            kept.append(shard)
        elif rows:
            labels = shard.labels and functools.partial(_first_labels, shard.labels, rows)
            kept.append(replace(shard, rows=rows, read=functools.partial(_first, shard.read, rows), labels=labels))
    return kept


def _spread(shards: list[Shard], limit: int) -> list[Shard] | None:
    """The first rows of every class; None if the first `limit` rows have all classes, or labels are not at hand.

    The ids of the rows count on from the first of the split.
    """
    if sum(shard.rows for shard in shards) <= limit or any(shard.labels is None or not shard.labelled for shard in shards):
        return None
    encoded = _joined([shard.labels() for shard in shards if shard.labels]).dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy()
    if len(set(codes[:limit]) - {-1}) == len(set(codes) - {-1}):
        return None
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes)  # where the class of each row begins in that order
    rank = np.empty(len(codes), np.int64)
    rank[order] = np.arange(len(codes))
    rank -= starts
    labelled = np.flatnonzero(codes >= 0)
    chosen = np.sort(labelled[np.lexsort((codes[labelled], rank[labelled]))[:limit]])
    kept, row, first_id = [], 0, shards[0].first_id
    for shard in shards:
        some = tuple(int(i) for i in chosen[(chosen >= row) & (chosen < row + shard.rows)] - row)
        row += shard.rows
        if some:
            read, labels = functools.partial(_picked, shard.read, some), functools.partial(_picked_labels, shard.labels, some)
            kept.append(replace(shard, first_id=first_id, rows=len(some), read=read, labels=labels))
            first_id += len(some)
    return kept


def _joined(labels: list[pa.Array]) -> pa.Array:
    """Labels of several shards, whose types may differ: some may have none at all."""
    types = {array.type for array in labels if not pa.types.is_null(array.type)} or {pa.int64()}
    common = types.pop() if len(types) == 1 else pa.string() if pa.string() in types else pa.float64()
    return pa.concat_arrays([array.cast(common) for array in labels])


def _first(read: Callable[[], Iterator[SourceRow]], rows: int) -> Iterator[SourceRow]:
    return itertools.islice(read(), rows)


def _first_labels(labels: Callable[[], pa.Array], rows: int) -> pa.Array:
    return labels()[:rows]


def _picked(read: Callable[[], Iterator[SourceRow]], rows: tuple[int, ...]) -> Iterator[SourceRow]:
    wanted = set(rows)
    return (row for i, row in enumerate(itertools.islice(read(), rows[-1] + 1)) if i in wanted)


def _picked_labels(labels: Callable[[], pa.Array] | None, rows: tuple[int, ...]) -> pa.Array:
    assert labels is not None
    return labels().take(pa.array(rows))


# --- arrays --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArrayRows:
    """The rows [start, stop) of a split of a set that fits in memory; `load(*arguments)` returns the set and should be cached."""

    load: Callable[..., Arrays]
    arguments: tuple[Any, ...]
    name: str
    split: str | None
    start: int
    stop: int

    def __call__(self) -> Iterator[SourceRow]:
        images, labels = self.load(*self.arguments)[self.split]
        where = f"{self.name}/{self.split}" if self.split else self.name
        for i in range(self.start, self.stop):
            yield SourceRow(images[i], int(labels[i]), f"{where}#{i}")

    def labels(self) -> pa.Array:
        return pa.array(self.load(*self.arguments)[self.split][1][self.start : self.stop])


def array_shards(name: str, load: Callable[..., Arrays], *arguments: Any) -> list[Shard]:
    """The shards of a set that fits in memory; ids count on from one split to the next."""
    shards, first_id = [], 0
    for split, (images, _) in load(*arguments).items():
        for start in range(0, len(images), SHARD_ROWS):
            stop = min(start + SHARD_ROWS, len(images))
            rows = ArrayRows(load, arguments, name, split, start, stop)
            shards.append(Shard(split, first_id + start, rows, stop - start, labels=rows.labels))
        first_id += len(images)
    return shards
