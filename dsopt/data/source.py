"""A data set before ingest: shards of rows, where a row's id is its position in the source."""

import functools
import hashlib
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow.fs as pf

from dsopt.config import DataConfig
from dsopt.errors import InputError
from dsopt.files import absolute, filesystem, first_line, retried
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
    label: int | str | None
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
    """

    split: str | None
    first_id: int
    read: Callable[[], Iterator[SourceRow]]
    rows: int
    labelled: bool = True


Listing = tuple[list[Shard], list[str] | None]  # the shards, and the class names if labels have names


class PassedOver(NamedTuple):
    """Files that a source did not take, for one reason such as "hidden" or "no image suffix".

    Args:
        examples: the first few.
        lost_classes: classes of which no other file is left.
    """

    reason: str
    count: int
    examples: tuple[str, ...] = ()
    lost_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a look at a source found besides its images, for the table that is printed before any work.

    Args:
        hints: one line each: columns, partitions or metadata files that may hold labels and were not used; which split tests.
        counts: for each split (None where the source has none) the images of each class, or their number alone if they have no
            labels; None if counting would read the data.
    """

    passed_over: tuple[PassedOver, ...] = ()
    hints: tuple[str, ...] = ()
    counts: dict[str | None, dict[str, int] | int] | None = None


@dataclass(frozen=True)
class Source:
    """A data set that was found.

    Args:
        fingerprint: plain values that change with the content; computed from names, sizes and times, without reading the data.
        remote: it is on an object store, so every node of a cluster can read it.
        list_shards: returns the shards and the class names (index = label; None if labels are numbers without names).
        look: what else was found; may read labels and footers, not images.
    """

    fingerprint: dict[str, Any]
    remote: bool
    list_shards: Callable[[], Listing]
    look: Callable[[], Findings] = Findings


def find(data: DataConfig) -> Source:
    """The source that a configuration names, limited to the first `data.limit` rows of each split.

    Raises:
        InputError: nothing usable is there; the message says what was expected where.
    """
    try:
        source = DATASETS.build(data.name, data.options)(data)
    except OSError as error:
        raise InputError(f"data.root={data.root}: cannot be read: {first_line(error)}") from None
    if data.limit is None:
        return source
    return replace(source, list_shards=functools.partial(_list_limited, source.list_shards, data.limit))


def _list_limited(list_shards: Callable[[], Listing], limit: int) -> Listing:
    shards, classes = list_shards()
    return limit_shards(shards, limit), classes


def limit_shards(shards: list[Shard], limit: int) -> list[Shard]:
    """Keep the first `limit` rows of every split; the others are not read."""
    left: dict[str | None, int] = defaultdict(lambda: limit)
    kept = []
    for shard in shards:
        rows = min(shard.rows, left[shard.split])
        left[shard.split] -= rows
        if rows == shard.rows:
            kept.append(shard)
        elif rows:
            kept.append(replace(shard, rows=rows, read=functools.partial(_first, shard.read, rows)))
    return kept


def _first(read: Callable[[], Iterator[SourceRow]], rows: int) -> Iterator[SourceRow]:
    return itertools.islice(read(), rows)


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


def array_shards(name: str, load: Callable[..., Arrays], *arguments: Any) -> list[Shard]:
    """The shards of a set that fits in memory; ids count on from one split to the next."""
    shards, first_id = [], 0
    for split, (images, _) in load(*arguments).items():
        for start in range(0, len(images), SHARD_ROWS):
            stop = min(start + SHARD_ROWS, len(images))
            rows = ArrayRows(load, arguments, name, split, start, stop)
            shards.append(Shard(split, first_id + start, rows, stop - start))
        first_id += len(images)
    return shards


# --- files ---------------------------------------------------------------------------------------------------------


class File(NamedTuple):
    """A file below a root: its name relative to the root, its size in bytes, its modification time in nanoseconds."""

    name: str
    size: int
    modified: int


def needed_root(data: DataConfig) -> str:
    """`data.root` as an absolute URI. Raises InputError if it is not set."""
    if not data.root:
        raise InputError(f"data.name={data.name}: needs data.root=..., the folder or URI of the data.")
    return absolute(data.root)


@retried
def list_folder(uri: str, *, recursive: bool = True) -> list[File]:
    """The files below a folder, sorted by name, without hidden ones; empty if the folder does not exist."""
    system, path = filesystem(uri)
    try:
        found = system.get_file_info(pf.FileSelector(path, recursive=recursive, allow_not_found=True))
    except NotADirectoryError:
        return []
    files = [
        File(info.path[len(path) :].lstrip("/"), info.size, info.mtime_ns or 0) for info in found if info.type == pf.FileType.File
    ]
    return sorted(file for file in files if not _hidden(file.name))


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))  # __MACOSX: from archives made on a Mac


def digest(files: list[File]) -> dict[str, Any]:
    """The fingerprint of a list of files; of fixed size, however many there are."""
    listed = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
    return {"files": len(files), "bytes": sum(file.size for file in files), "digest": listed}


# --- splits --------------------------------------------------------------------------------------------------------

_SPLIT = re.compile(r"(?<![a-z])(train|test|valid|val|dev)(?:ing|idation)?(?![a-z])", re.IGNORECASE)


def named_split(path: str) -> str | None:
    """The split that a path names, in the file name or else the nearest folder: "train", "test", "validation", or None."""
    for part in reversed(path.split("/")):
        if match := _SPLIT.search(part):
            word = match[1].lower()
            return word if word in ("train", "test") else "validation"
    return None


def decide_splits(named: set[str | None]) -> dict[str | None, str | None]:
    """Map each named split to its use, "train", "test" or None; splits that are not in the result are not used.

    The test split is "test", or "validation" if there is no "test". If there are not both a train and a test split, the use of
    all is None, and `data.test_fraction` divides the rows.
    """
    test = next((name for name in ("test", "validation") if name in named), None)
    if test is None or not named & {"train", None}:
        return dict.fromkeys(named)
    return {**dict.fromkeys(named & {"train", None}, "train"), test: "test"}
