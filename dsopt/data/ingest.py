"""From rows of a source to rows of the images table: every image is decoded once, and its working copy stored."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from PIL import Image

from dsopt.config import DataConfig
from dsopt.data.copies import Size, working_copy
from dsopt.data.pixels import Unusable, is_gray, opened
from dsopt.data.sources.labels import is_whole
from dsopt.data.sources.source import Findings, Shard, SourceRow
from dsopt.errors import InputError
from dsopt.files import retried
from dsopt.seeds import splitmix64
from dsopt.storage import IMAGES

MAX_LABEL = 2**31 - 1
AHEAD = 2**26  # bytes of pictures that are read ahead of those that are decoded
BLOCK = 2**26  # bytes of working copies in one block of a table
SAMPLE = 64  # images that say whether a data set is color
READ = 1024  # rows that are read to find these, at most


class Broken(NamedTuple):
    """A row that was skipped, and why."""

    id: int
    key: str
    reason: str


@dataclass
class Ingested:
    """What became of a shard.

    Args:
        tables: the images tables by split, "train" or "test"; only those with rows.
        broken: the skipped rows.
        uniform: how many pictures have one value in all pixels.
        formats: how many pictures of each format there are; "array" for those that are no encoded files.
        smallest, largest: width and height of the originals with the fewest and the most pixels; None if there is no picture.
    """

    tables: dict[str, pa.Table] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    uniform: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    smallest: Size | None = None
    largest: Size | None = None

    def note(self, found: "_Row") -> None:
        """Count a picture."""
        size = found.columns["width"], found.columns["height"]
        self.uniform += found.uniform
        self.formats[found.format] += 1
        self.smallest = min(self.smallest or size, size, key=_pixels)
        self.largest = max(self.largest or size, size, key=_pixels)


class _Row(NamedTuple):
    columns: dict[str, Any]
    uniform: bool
    format: str


@retried
def ingest_shard(shard: Shard, data: DataConfig, classes: list[str] | None, alone: Set[str] = frozenset()) -> Ingested:
    """The images tables of a shard, and what else is known of its pictures.

    A pure function of its arguments: running it again gives the same bytes. It decodes with as many threads as torch has, all
    cores or what Ray gives a worker; memory is bounded by the bytes of the working copies.

    Args:
        data: with `channels` set (see `source_channels`).
        classes: the names of the labels; None if labels are numbers without names.
        alone: classes with a single image: where `data.test_fraction` divides the rows, it is trained on.

    Raises:
        InputError: a row is broken and `data.on_error` is "fail".
    """
    numbers = None if classes is None else {name: i for i, name in enumerate(classes)}
    single = {number for number, name in enumerate(classes or []) if name in alone}
    tables = {split: _Blocks() for split in ("train", "test")}
    found = Ingested()

    def one(id: int, row: SourceRow) -> _Row | Broken:
        try:
            return _row(id, row, _label(row.label, numbers, shard.labelled), data)
        except Unusable as reason:
            return Broken(id, row.key, str(reason))

    with closing(_in_order(one, shard)) as results:
        for made in results:
            if isinstance(made, Broken):
                if data.on_error == "fail":
                    raise InputError(f"{made.key}: {made.reason} (data.on_error=skip leaves such rows out).")
                found.broken.append(made)
                continue
            found.note(made)
            test = held_out(made.columns["id"], data.test_fraction) and made.columns["label"] not in single
            tables[shard.split or ("test" if test else "train")].add(made.columns)
    found.tables = {split: blocks.table() for split, blocks in tables.items() if blocks.rows}
    return found


def _in_order(function: Callable[[int, SourceRow], _Row | Broken], shard: Shard) -> Generator[_Row | Broken]:
    """The results for the rows of a shard, in order, computed by threads; few rows are in memory at once."""
    threads = torch.get_num_threads()
    waiting: deque[tuple[Future[_Row | Broken], int]] = deque()
    size = 0
    with ThreadPoolExecutor(threads) as pool:
        for id, row in enumerate(shard.read(), start=shard.first_id):
            bytes_of = 0 if row.image is None else len(row.image) if isinstance(row.image, bytes) else row.image.nbytes
            waiting.append((pool.submit(function, id, row), bytes_of))
            size += bytes_of
            while len(waiting) > threads and (size > AHEAD or len(waiting) > 8 * threads):
                future, done = waiting.popleft()
                size -= done
                yield future.result()
        for future, _ in waiting:
            yield future.result()


class _Blocks:
    """The rows of a split as a table that grows by blocks: plain Python rows take more memory, and a block of Arrow has a limit."""

    def __init__(self) -> None:
        self.blocks: list[pa.Table] = []
        self.waiting: list[dict[str, Any]] = []
        self.size = self.rows = 0

    def add(self, row: dict[str, Any]) -> None:
        self.waiting.append(row)
        self.rows += 1
        self.size += len(row["image"]["bytes"])
        if self.size > BLOCK:
            self._close()

    def table(self) -> pa.Table:
        self._close()
        return pa.concat_tables(self.blocks)

    def _close(self) -> None:
        if self.waiting:
            self.blocks.append(pa.Table.from_pylist(self.waiting, IMAGES))
        self.waiting, self.size = [], 0


def _row(id: int, row: SourceRow, label: int | None, data: DataConfig) -> _Row:
    picture, copy = opened(row.image), working_copy(row.image, data)
    columns = {"id": id, "image": {"bytes": copy.data, "path": f"{id:08d}.{copy.suffix}"}, "label": label, "key": row.key}
    return _Row(columns | _origin(row, picture), copy.uniform, picture.format or "array")


def _origin(row: SourceRow, picture: Image.Image) -> dict[str, Any]:
    """The columns that say where an image lies and what it is; only those of its size where it is no encoded file."""
    about: dict[str, Any] = {"width": picture.width, "height": picture.height}
    if row.place is None or not isinstance(row.image, bytes):
        return about
    digest = hashlib.blake2b(row.image, digest_size=16).hexdigest()
    return about | row.place._asdict() | {"format": picture.format, "digest": digest}


def source_channels(shards: Iterable[Shard]) -> int:
    """3 if any of a sample of images is color, else 1: images are taken from shards all over the source.

    Raises:
        InputError: no image can be read.
    """
    shards, usable = list(shards), 0
    some = [shards[i * len(shards) // SAMPLE] for i in range(SAMPLE)] if len(shards) > SAMPLE else shards
    for shard in some:
        rows, wanted = min(shard.rows, READ // len(some)), max(1, SAMPLE // len(some))
        for row in islice(shard.read(), 0, rows, max(1, rows // wanted)):
            try:
                if not is_gray(opened(row.image)):
                    return 3
                usable += 1
            except Unusable:
                continue
    return 1 if usable else _first_usable(shards)


def _first_usable(shards: list[Shard]) -> int:
    for shard in shards:
        for row in shard.read():
            try:
                return 1 if is_gray(opened(row.image)) else 3
            except Unusable:
                continue
    raise InputError("no image of the data set can be read.")


def single(findings: Findings) -> frozenset[str]:
    """The classes with one image, among those that no split is given for; none where the source has not counted them."""
    counts = (findings.counts or {}).get(None)
    return frozenset(name for name, count in counts.items() if count == 1) if isinstance(counts, dict) else frozenset()


def held_out(id: int, fraction: float) -> bool:
    """Whether a row belongs to the test split: follows from its id alone."""
    return splitmix64(id) < fraction * 2**64


def _pixels(size: Size) -> int:
    return size[0] * size[1]


def _label(label: Any, numbers: dict[str, int] | None, labelled: bool) -> int | None:
    if label is None or label != label:  # pandas writes a missing number as NaN
        if labelled:
            raise Unusable("no label")
        return None
    if isinstance(label, str):
        if numbers is None or label not in numbers:
            raise Unusable(f"label {label!r} is not one of the classes")
        return numbers[label]
    if not is_whole(label):
        raise Unusable(f"label {label} is not a whole number")
    top = MAX_LABEL if numbers is None else len(numbers) - 1
    if not 0 <= label <= top:
        raise Unusable(f"label {label} is not in 0..{top}")
    return int(label)
