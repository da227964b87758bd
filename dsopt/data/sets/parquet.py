import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq
import pyarrow.types as pt

from dsopt.config import DataConfig
from dsopt.data.sets.folder import READ_AHEAD, located, named_files, readable
from dsopt.data.sources.footers import Footer, distinct, file_labels, footer, has_labels, label_digest, paths, sound
from dsopt.data.sources.labels import FileLabels, agree, kind_of, named
from dsopt.data.sources.layout import check_named, check_one_set, decide_splits, named_split, told
from dsopt.data.sources.listing import Below, File, Skipped, digest, list_data, needed_root, passed_over, version_of
from dsopt.data.sources.source import SHARD_ROWS, Findings, Listing, Place, Shard, Source, SourceRow
from dsopt.errors import InputError
from dsopt.files import absolute, filesystem, is_remote, join, retried
from dsopt.registry import DATASETS

EXTENSIONS = (".parquet", ".pq")
SHARDS_PER_GROUP = 16  # at most: Parquet cannot seek within a row group, so a shard reads and drops the rows before its own
BATCH_ROWS = 256
BATCH_BYTES = 16 << 20  # of the images that are read at a time, where they are large
BUFFER_BYTES = 4 << 20  # a row group is read in buffers of this size, not at once: it may hold gigabytes of images
COUNTED_GROUPS = 2000  # labels are counted up to so many row groups on an object store, where each is a request


class Known(NamedTuple):
    """The name of a well-known set, and the names of its labels."""

    name: str
    classes: Sequence[str]


@DATASETS.register
def parquet(data: DataConfig, *, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Parquet files as on the Hugging Face hub: a file, a folder or a glob, with a column image or img, and a column label."""
    root = needed_root(data)
    base, files, skipped = find_files(root, EXTENSIONS)
    if not files:
        raise InputError(f"data.root={root}: no Parquet files there (*.parquet or *.pq).")
    return parquet_source(base, files, skipped, image_column=image_column, label_column=label_column)


def parquet_files(root: str) -> tuple[str, list[File]]:
    """The Parquet files of a file name, folder or glob, and before them the folder that their names are relative to."""
    base, files, _ = find_files(root, EXTENSIONS)
    return base, files


@retried
def find_files(root: str, extensions: tuple[str, ...]) -> tuple[str, list[File], list[Skipped]]:
    """The files of a file name, folder or glob: the folder that their names are relative to, the files, and what was skipped.

    Raises:
        InputError: two folders of a data set hold files of the same names, unless a glob asks for both.
    """
    system, path = filesystem(root)
    info = system.get_file_info(path)
    if info.type == pf.FileType.File:
        base, _, name = absolute(root).rpartition("/")
        return base, [_file(root, name, info)], []
    if info.type == pf.FileType.NotFound and re.search(r"[*?\[]", root):
        fixed = re.split(r"[*?\[]", root)[0].rpartition("/")[0]
        pattern = _glob_pattern(root[len(fixed) + 1 :])
        return fixed, [file for file in list_data(fixed).files if pattern.fullmatch(file.name)], []
    below = list_data(root)
    files = [file for file in below.files if file.name.lower().endswith(extensions)]
    try:
        check_one_set([file.name for file in files])
    except InputError as error:
        raise InputError(f"data.root={root}: {error}") from None
    return root, files, _others(below, files)


def _file(uri: str, name: str, info: pf.FileInfo) -> File:
    if info.mtime_ns is None and is_remote(uri) and not uri.startswith("s3://"):
        from dsopt import schemes

        system, path = schemes.system(uri)
        return File(name, info.size or 0, version_of(system.info(path)))
    return File(name, info.size or 0, info.mtime_ns or 0)


def _others(below: Below, files: list[File]) -> list[Skipped]:
    taken = {file.name for file in files}
    return below.skipped + [Skipped(file.name, "another kind of file") for file in below.files if file.name not in taken]


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as in Python's glob module: ** matches any folders, * and ? within a name, [...] one character."""
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", glob)
    return re.compile("".join(meaning.get(p, p.replace("[!", "[^") if p.startswith("[") else re.escape(p)) for p in pieces))


def parquet_source(
    base: str,
    files: list[File],
    skipped: Sequence[Skipped] = (),
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    known: Known | None = None,
) -> Source:
    """The source of Parquet files below `base`; the class names of a `known` set are for files without names of their own."""
    with ThreadPoolExecutor(8) as pool:  # on an object store each footer costs a few round trips
        footers = list(pool.map(lambda file: footer(base, file, image_column, label_column), files))
    if label_column is not None and not any(one.kind for one in footers):
        raise InputError(f"{base}: no file has a column {label_column!r} (options.label_column).")
    splits: dict[str | None, list[Footer]] = {}
    for one in footers:
        splits.setdefault(named_split(one.file.name), []).append(one)
    check_named(base, {split: own[0].file.name for split, own in splits.items()})
    unlabelled = {split for split, own in splits.items() if len(splits) > 1 and not has_labels(base, own)}
    uses = decide_splits(set(splits), unlabelled)
    used = sorted((use == "test", one.file.name, use, one) for split, use in uses.items() for one in splits[split])
    chosen = [(use, one) for _, _, use, one in used]
    labelled = any(one.kind for one in footers)
    hints = dict.fromkeys(hint for one in footers if one.kind or not labelled for hint in one.hints)
    look = functools.partial(Findings, passed_over(skipped), (*hints, *told(set(splits), unlabelled)))
    list_shards = functools.partial(_list_shards, base, chosen, known and known.classes)
    return Source(_fingerprint(base, footers, known), is_remote(base), list_shards, look)


def _fingerprint(base: str, footers: list[Footer], known: Known | None) -> dict[str, Any]:
    """A well-known set is its labels and footers, wherever it lies; any other also the times of its files and of their images."""
    if known:
        content = [(one.file.name, one.file.size, one.digest, label_digest(base, one)) for one in footers]
    else:
        labels = [label_digest(base, one) if _counted(base, footers) else "" for one in footers]
        content = [(*one.file, one.digest, own) for one, own in zip(footers, labels, strict=True)]
    if not is_remote(base) and any(one.paths for one in footers):
        content += [digest(named_files(join(base, one.file.name).rpartition("/")[0], paths(base, one))) for one in footers]
    total = sum(one.file.size for one in footers)
    found = {"files": len(footers), "bytes": total, "digest": hashlib.sha256(repr(content).encode()).hexdigest()[:16]}
    return {"set": known.name} | found if known else found


def _list_shards(base: str, chosen: list[tuple[str | None, Footer]], known: Sequence[str] | None) -> Listing:
    footers = [one for _, one in chosen]
    labels = [FileLabels(one.file.name, one.kind, one.names) for one in footers]
    agreed = agree(base, labels, known, functools.partial(distinct, base, footers))
    counted = _counted(base, footers)
    labelled = any(one.kind for one in footers)
    shards, first_id = [], 0
    for use, one in chosen:
        names = agreed.names.get(one.file.name)
        for start, stop in _ranges(one.groups):
            rows = ParquetRows(join(base, one.file.name), one, names, start, stop)
            shards.append(
                Shard(use, first_id + start, rows, stop - start, labelled=labelled, labels=rows.labels if counted else None)
            )
        first_id += one.rows
    return shards, agreed.classes


def _counted(base: str, footers: Sequence[Footer]) -> bool:
    """Whether labels are read before the images are."""
    return not is_remote(base) or sum(len(one.groups) for one in footers) <= COUNTED_GROUPS


def _ranges(groups: Sequence[int]) -> list[tuple[int, int]]:
    """Row ranges [start, stop) of about SHARD_ROWS: small row groups are joined, large ones are divided."""
    ranges, start, stop = [], 0, 0
    for rows in groups:
        if stop > start and stop + rows - start > SHARD_ROWS:
            ranges.append((start, stop))
            start = stop
        stop += rows
        if rows > SHARD_ROWS:
            step = max(SHARD_ROWS, -(-rows // SHARDS_PER_GROUP))
            ranges += [(at, min(at + step, stop)) for at in range(start, stop, step)]
            start = stop
    return ranges + ([(start, stop)] if stop > start else [])


@dataclass(frozen=True)
class ParquetRows:
    """The rows [start, stop) of a file, read in small batches; numbers become the `names`, if these are given."""

    uri: str
    footer: Footer
    names: tuple[str, ...] | None
    start: int
    stop: int

    def __call__(self) -> Iterator[SourceRow]:
        image, label = self.footer.image, self.footer.label
        system, path = filesystem(self.uri)
        size = max(1, min(BATCH_ROWS, BATCH_BYTES // max(self.footer.image_bytes, 1)))
        with sound(self.uri), system.open_input_file(path) as handle:
            file = pq.ParquetFile(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
            groups, row = self._groups()
            for batch in file.iter_batches(size, row_groups=groups, columns=[image, label] if label else [image]):
                skip = min(max(self.start - row, 0), len(batch))
                batch = batch.slice(skip, max(self.stop - row, 0) - skip)
                row += skip
                labels = batch.column(label).to_pylist() if label else [self.footer.constant] * len(batch)
                found = [
                    (data, named(value, self.names or ())) for data, value in zip(_images(batch.column(image)), labels, strict=True)
                ]
                yield from self._rows(found, row)
                row += len(batch)
                if row >= self.stop:
                    return

    def labels(self) -> pa.Array:
        if not self.footer.label:
            return pa.array([self.footer.constant] * (self.stop - self.start), pa.string())
        return file_labels(self.uri, self.footer.label, self.footer.file.version, self.names)[self.start : self.stop]

    def _rows(self, found: list[tuple[bytes | str | None, Any]], first: int) -> Iterator[SourceRow]:
        if not any(isinstance(image, str) for image, _ in found):
            yield from (self._row(image, label, row) for row, (image, label) in enumerate(found, first))
            return
        with ThreadPoolExecutor(READ_AHEAD) as pool:  # every row is a file to open, on an object store a request
            for start in range(0, len(found), READ_AHEAD):
                some = found[start : start + READ_AHEAD]
                yield from pool.map(self._row, *zip(*some, strict=True), range(first + start, first + start + len(some)))

    def _row(self, image: bytes | str | None, label: int | float | str | None, row: int) -> SourceRow:
        if isinstance(image, str):
            place = located(self.uri.rpartition("/")[0], image)
            return SourceRow(readable(place), label, image, Place(place))
        return SourceRow(image, label, f"{self.footer.file.name}#{row}", Place(self.uri, row=row))

    def _groups(self) -> tuple[list[int], int]:
        """The row groups that hold the rows, and the first row of the first of them."""
        groups, first_row, row = [], 0, 0
        for i, rows in enumerate(self.footer.groups):
            if row < self.stop and row + rows > self.start:
                first_row = first_row if groups else row
                groups.append(i)
            row += rows
        return groups, first_row


def _images(column: pa.Array) -> Iterator[bytes | str | None]:
    """The bytes of the images, or the path where a row has a path only."""
    if not pt.is_struct(column.type):
        text = kind_of(column.type) == "text"
        yield from ((value or None) if text else value for value in column.to_pylist())
        return
    fields: Mapping[str, list[bytes | str | None]] = {
        name: column.flatten()[column.type.get_field_index(name)].to_pylist()
        for name in ("bytes", "path")
        if column.type.get_field_index(name) >= 0
    }
    nothing: list[bytes | str | None] = [None] * len(column)
    for data, path in zip(fields.get("bytes", nothing), fields.get("path", nothing), strict=True):
        yield data if data is not None else path
