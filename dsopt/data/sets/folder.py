import functools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from dsopt import schemes
from dsopt.config import DataConfig
from dsopt.data.sources import kinds
from dsopt.data.sources.layout import Layout, decide_splits, layout, named_split, normal, told
from dsopt.data.sources.listing import OWN, File, Skipped, digest, list_data, needed_root, passed_over
from dsopt.data.sources.metadata import NAMES, Metadata, read_metadata
from dsopt.data.sources.source import Findings, Listing, Place, Shard, Source, SourceRow
from dsopt.data.sources.tables import SUFFIXES as TABLES
from dsopt.data.sources.tables import contents
from dsopt.errors import InputError
from dsopt.files import absolute, exists, is_remote, join, read_bytes
from dsopt.registry import DATASETS

LISTS = (*TABLES, ".txt", ".lst", ".mat")
SHARD_FILES = 256  # small enough that a few thousand photographs keep all cores busy to the end
READ_AHEAD = 32  # files read concurrently, which hides the latency of an object store
AHEAD_BYTES = 64 << 20  # of these files together
UNKNOWN_BYTES = 4 << 20  # what a file counts whose size is not known


class ImageFile(NamedTuple):
    """A file with its label: its name below a root, or a URI; `size` is in bytes, 0 if it is not known."""

    name: str
    label: int | str | None
    size: int


Files = dict[str | None, list[ImageFile]]  # named split -> files


@DATASETS.register
def folder(data: DataConfig, *, label_column: str | None = None) -> Source:
    """Image files in folders: train/<class>/* and test/<class>/*, or <class>/*, or a metadata.csv with labels, as on the hub."""
    root = needed_root(data)
    below = list_data(root)
    if not is_remote(root) and not exists(root):
        raise InputError(f"data.root={root}: there is no such folder.")
    files, skipped = kinds.images(root, below)
    if not files:
        raise InputError(
            f"data.root={root}: no image files there; expected <class>/*.png, or train/<class>/* and test/<class>/*."
            + "".join(f" There are {one.count} files: {one.reason}, such as {one.examples[0]}." for one in passed_over(skipped)[:1])
        )
    try:
        found = layout([file.name for file in files])
    except InputError as error:
        raise InputError(f"data.root={root}: {error}") from None
    metadata = read_metadata(root, below.files, label_column)
    splits = _splits(files, found, metadata)
    uses, hints = _uses(splits)
    used = {use: _interleaved(splits, uses, use) for use in dict.fromkeys(uses.values())}
    skipped = [one for one in skipped if one.name not in metadata.files]
    unused = _tables(root, [one for one in below.files if one.name not in metadata.files], found, splits)
    hints = (*metadata.hints, *_not_there(metadata, files), *hints, *unused, *_within_classes(files, found, metadata))
    look = functools.partial(_findings, skipped, found, _classes(splits), hints)
    tables = [file for file in below.files if file.name in metadata.files]
    fingerprint = digest([*files, *tables]) | ({"contents": contents(root, tables)} if tables else {})
    return Source(fingerprint, is_remote(root), functools.partial(list_files, root, used), look)


def _splits(files: list[File], found: Layout, metadata: Metadata) -> Files:
    """The files of each named split, with their labels from the metadata or else the folders."""
    splits: Files = defaultdict(list)
    for file in files:
        split, label = found.of(file.name)
        if metadata.labels is not None:
            label = metadata.labels.get(normal(file.name))
        splits[split].append(ImageFile(file.name, label, file.size))
    return dict(splits)


def _uses(splits: Files) -> tuple[dict[str | None, str | None], tuple[str, ...]]:
    """The use of each named split, and what must be said of it."""
    unlabelled = {split for split, files in splits.items() if all(file.label is None for file in files)}
    return decide_splits(set(splits), unlabelled), told(set(splits), unlabelled)


def _interleaved(splits: Files, uses: dict[str | None, str | None], use: str | None) -> list[ImageFile]:
    """The files of one use, classes interleaved: the first file of every class, then the second, ...

    So the first rows of a split (`data.limit`) contain all classes, and so does every shard.
    """
    counts: dict[str | int | None, int] = defaultdict(int)
    ordered = []
    for file in sorted(file for split in splits if split in uses and uses[split] == use for file in splits[split]):
        ordered.append((counts[file.label], "" if file.label is None else str(file.label), file.name, file))
        counts[file.label] += 1
    return [file for *_, file in sorted(ordered, key=lambda one: one[:3])]


def _classes(splits: Files) -> set[str]:
    return {file.label for files in splits.values() for file in files if isinstance(file.label, str)}


def _tables(root: str, files: list[File], found: Layout, splits: Files) -> tuple[str, ...]:
    """Hints on tables that may hold the labels, or other ones, and on lists of splits where there are none."""
    classes = {str(file.label) for some in splits.values() for file in some}
    outside = [f.name for f in files if f.name.rpartition("/")[2].lower() not in NAMES and found.of(f.name)[1] not in classes]
    tables = sorted((name for name in outside if name.lower().endswith(TABLES)), key=lambda name: (_of_test(name), name))
    if classes == {"None"}:
        if not tables and any("\\" in file.name for some in splits.values() for file in some):
            return ("no labels; names hold backslashes, as from a Windows archive: unpack it by a program that makes folders.",)
        where = f"data.name=table data.root={join(root, tables[0])}" if tables else ""
        return (f"no labels; {', '.join(tables[:3])} may hold them: {where}.",) if tables else ()
    lists = [name for name in outside if name.lower().endswith(LISTS) and (named_split(name) or "split" in name.lower())]
    told = [f"labels are read from folders; not from {', '.join(tables[:3])} (data.name=table)."] if tables else []
    if lists and set(splits) == {None}:
        told.append(
            f"no split is read from lists such as {', '.join(lists[:3])}; expected folders train and test, or a table with both."
        )
    return tuple(told)


def _of_test(name: str) -> bool:
    """Whether a table hardly holds labels, such as test.csv and sample_submission.csv."""
    return named_split(name) == "test" or "submission" in name.lower()


def _within_classes(files: list[File], found: Layout, metadata: Metadata) -> tuple[str, ...]:
    """A hint on folders of one name within several classes: those may be the classes, or hold copies such as thumbnails."""
    if metadata.labels is not None or found.class_first:
        return ()
    below: dict[str, set[str]] = defaultdict(set)  # class -> the folders in it, "" for images
    for file in files:
        if (label := found.of(file.name)[1]) is not None:
            folders = [normal(part) for part in file.name.split("/")[:-1]]
            below[label].add("/".join(folders[folders.index(label) + 1 :][:1]) if label in folders else "")
    counts = Counter(folder for inside in below.values() for folder in inside if folder)
    beside = set().union(*(inside for inside in below.values() if len(inside) > 1))
    several = sorted(folder for folder, count in counts.items() if count > 1 and folder in beside)
    if not several:
        return ()
    shown = [", ".join(some[:3]) + " and others" * (len(some) > 3) for some in (sorted(below), several)]
    return (f"classes are {shown[0]}; folders within several of them are read as parts of these: {shown[1]}.",)


def _not_there(metadata: Metadata, files: list[File]) -> tuple[str, ...]:
    """A hint on images that the metadata name and nobody finds."""
    missing = sorted(set(metadata.labels or ()) - {normal(file.name) for file in files})
    if not missing:
        return ()
    return (f"not there: {len(missing):,} of the images in {', '.join(sorted(metadata.files)[:3])}, such as {missing[0]}.",)


def _findings(skipped: list[Skipped], found: Layout, classes: set[str], hints: tuple[str, ...]) -> Findings:
    foreign = [one for one in skipped if one.reason != OWN]
    lost = {one.name: label for one in foreign if (label := found.of(one.name)[1]) is not None and label not in classes}
    return Findings(passed_over(skipped, lost if classes else None), hints)


def list_files(root: str, uses: Files) -> Listing:
    """The shards of image files by use, and the class names if labels are text.

    Raises:
        InputError: some labels are numbers and others are text.
    """
    labels = {file.label for files in uses.values() for file in files} - {None}
    texts = sorted(label for label in labels if isinstance(label, str))
    if texts and len(texts) < len(labels):
        raise InputError(f"{root}: some labels are numbers, others are text, such as {texts[0]!r}; they must be one kind.")
    shards, first_id = [], 0
    for use, files in uses.items():
        for start in range(0, len(files), SHARD_FILES):
            rows = FileRows(root, tuple(files[start : start + SHARD_FILES]))
            shards.append(Shard(use, first_id + start, rows, len(rows.files), labelled=bool(labels), labels=rows.labels))
        first_id += len(files)
    return shards, texts or None


@dataclass(frozen=True)
class FileRows:
    """One row per file. A file that cannot be opened is a row without an image."""

    root: str
    files: tuple[ImageFile, ...]

    def __call__(self) -> Iterator[SourceRow]:
        with ThreadPoolExecutor(READ_AHEAD) as pool:
            for some in windows(self.files):
                yield from pool.map(self._row, some)

    def labels(self) -> pa.Array:
        return pa.array([file.label for file in self.files])

    def _row(self, file: ImageFile) -> SourceRow:
        uri = located(self.root, file.name)
        image = readable(uri) if file.name else None
        return SourceRow(image, file.label, file.name, None if image is None else Place(uri))


def located(root: str, name: str) -> str:
    """The URI, or local path, of a name in a table: a URI, an absolute path, or relative to `root`."""
    if name.startswith("file://"):  # blanks and the like may be spelled as in URIs, which this package's are not
        plain = absolute(name)
        return plain if os.path.exists(plain) else absolute(unquote(name))
    if schemes.scheme(name) or (name.startswith("/") and not is_remote(root)):
        return name
    return join(root, name.removeprefix("./"))


def named_files(root: str, names: Iterable[str]) -> list[File]:
    """What is known of the files that a table names: sizes and times of local ones (0: not there), of others the names alone."""
    found = []
    for name in names:
        uri = located(root, name)
        size, version = (not is_remote(uri) and _stat(absolute(uri))) or (0, 0)
        found.append(File(name, size, version))
    return found


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # none of that name, or none that could be
        return None
    return found.st_size, found.st_mtime_ns


def readable(uri: str) -> bytes | None:
    """The content of a file; None if it is no file or may not be read. Raises InputError if no such URI can be read."""
    try:
        return read_bytes(uri)
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, pa.ArrowInvalid):
        return None
    except InputError:
        raise
    except Exception:
        if schemes.by_fsspec(uri):  # whose packages raise errors of their own, such as for a status of 403
            return None
        if not is_remote(uri) and not os.path.isfile(absolute(uri)):  # such as a folder, or a name that is too long
            return None
        raise


def windows(files: Sequence[ImageFile]) -> Iterable[list[ImageFile]]:
    """Consecutive files to be read at once: at most READ_AHEAD, and AHEAD_BYTES of them, but at least one."""
    some: list[ImageFile] = []
    total = 0
    for file in files:
        size = file.size or UNKNOWN_BYTES
        if some and (len(some) == READ_AHEAD or total + size > AHEAD_BYTES):
            yield some
            some, total = [], 0
        some.append(file)
        total += size
    if some:
        yield some
