"""What a data set looks like before ingest: shards of rows whose ids are their positions in the source."""

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

SHARD_ROWS = 4096

Arrays = dict[str | None, tuple[np.ndarray, np.ndarray]]  # split -> uint8 images [n, h, w] or [n, h, w, c], labels [n]


class Row(NamedTuple):
    """One image as the source has it; `source` is the file, or "file#row", for people."""

    image: bytes | np.ndarray | None
    label: int | str | None
    source: str


@dataclass(frozen=True)
class Shard:
    """Some consecutive rows of a source: row i has the id `first_id + i`, whatever is wrong with the rows before it.

    Args:
        split: "train" or "test"; None where the source does not say.
        read: picklable, so that any process can read the shard.
        rows: how many rows `read` gives.
        labelled: the source has labels, so that a row without one is broken.
    """

    split: str | None
    first_id: int
    read: Callable[[], Iterator[Row]]
    rows: int
    labelled: bool = True


Plan = tuple[list[Shard], list[str] | None]


@dataclass(frozen=True)
class Source:
    """A data set that was found.

    Args:
        fingerprint: plain values that change with the content; found without reading any data.
        remote: lies in an object store, so that every node of a cluster can read it.
        plan: gives the shards and the class names (index = label; None if labels are numbers without names).
    """

    fingerprint: dict[str, Any]
    remote: bool
    plan: Callable[[], Plan]


def find(data: DataConfig) -> Source:
    """The source that a configuration names, cut to `data.limit` rows a split.

    Raises:
        InputError: nothing usable is there; says what was expected where.
    """
    try:
        source = DATASETS.build(data.name, data.options)(data)
    except OSError as error:
        raise InputError(f"data.root={data.root}: cannot be read: {first_line(error)}") from None
    return source if data.limit is None else replace(source, plan=functools.partial(_limited, source.plan, data.limit))


def _limited(plan: Callable[[], Plan], limit: int) -> Plan:
    shards, classes = plan()
    return limit_shards(shards, limit), classes


def limit_shards(shards: list[Shard], limit: int) -> list[Shard]:
    """Only the first `limit` rows of every split; the rest is not read."""
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


def _first(read: Callable[[], Iterator[Row]], rows: int) -> Iterator[Row]:
    return itertools.islice(read(), rows)


# --- arrays --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArrayRows:
    """Rows of a set that fits in memory: `load(*arguments)`, which should cache, gives all of it."""

    load: Callable[..., Arrays]
    arguments: tuple[Any, ...]
    name: str
    split: str | None
    start: int
    stop: int

    def __call__(self) -> Iterator[Row]:
        images, labels = self.load(*self.arguments)[self.split]
        where = f"{self.name}/{self.split}" if self.split else self.name
        for i in range(self.start, self.stop):
            yield Row(images[i], int(labels[i]), f"{where}#{i}")


def array_shards(name: str, load: Callable[..., Arrays], *arguments: Any) -> list[Shard]:
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
    """A file below a root: its name relative to it, bytes, and time of change in nanoseconds."""

    name: str
    size: int
    modified: int


def needed_root(data: DataConfig) -> str:
    if not data.root:
        raise InputError(f"data.name={data.name}: needs data.root=..., the place where the data lies.")
    return absolute(data.root)


@retried
def list_folder(uri: str, *, recursive: bool = True) -> list[File]:
    """The files below a folder, sorted by name, without hidden ones; none if there is no such folder."""
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
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def digest(files: list[File]) -> dict[str, Any]:
    """A fingerprint of files: short however many they are."""
    listed = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]
    return {"files": len(files), "bytes": sum(file.size for file in files), "digest": listed}


# --- splits --------------------------------------------------------------------------------------------------------

_SPLIT = re.compile(r"(?<![a-z])(train|test|valid|val|dev)(?:ing|idation)?(?![a-z])", re.IGNORECASE)


def named_split(path: str) -> str | None:
    """The split that a file's name, else its nearest folder's, speaks of: "train", "test", "validation", or None."""
    for part in reversed(path.split("/")):
        if match := _SPLIT.search(part):
            word = match[1].lower()
            return word if word in ("train", "test") else "validation"
    return None


def decide_splits(named: set[str | None]) -> dict[str | None, str | None]:
    """What each named split is used as; those missing here are left out.

    What is tested on is "test", or "validation" where there is no "test". Where names give no pair to train and test
    on, everything stays undecided (None), and `data.test_fraction` divides it.
    """
    test = next((name for name in ("test", "validation") if name in named), None)
    if test is None or not named & {"train", None}:
        return dict.fromkeys(named)
    return {**dict.fromkeys(named & {"train", None}, "train"), test: "test"}
