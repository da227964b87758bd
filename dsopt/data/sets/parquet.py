import functools
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq
import pyarrow.types as pt

from dsopt.config import DataConfig
from dsopt.data.source import (
    SHARD_ROWS,
    File,
    Listing,
    Place,
    Shard,
    Source,
    SourceRow,
    decide_splits,
    digest,
    list_folder,
    named_split,
    needed_root,
)
from dsopt.errors import InputError, unknown
from dsopt.files import filesystem, first_line, is_remote, join, retried
from dsopt.registry import DATASETS

EXTENSIONS = (".parquet", ".pq")
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")
SHARDS_PER_GROUP = 16  # at most: Parquet cannot seek within a row group, so a shard reads and drops the rows before its own
BATCH_ROWS = 256
BUFFER_BYTES = 4 << 20  # a row group is read in buffers of this size, not at once: it may hold gigabytes of images


@DATASETS.register
def parquet(data: DataConfig, *, image_column: str | None = None, label_column: str | None = None) -> Source:
    """Parquet files as on the Hugging Face hub: a file, a folder or a glob, with a column image or img, and a column label."""
    root = needed_root(data)
    base, files = parquet_files(root)
    if not files:
        raise InputError(f"data.root={root}: no Parquet files there (*.parquet or *.pq).")
    return parquet_source(base, files, image_column=image_column, label_column=label_column)


@retried
def parquet_files(root: str) -> tuple[str, list[File]]:
    """The Parquet files of a file name, folder or glob, and before them the folder that their names are relative to."""
    system, path = filesystem(root)
    info = system.get_file_info(path)
    if info.type == pf.FileType.File:
        base, _, name = root.rpartition("/")
        return base, [File(name, info.size, info.mtime_ns or 0)]
    if info.type == pf.FileType.NotFound and re.search(r"[*?\[]", root):
        fixed = re.split(r"[*?\[]", root)[0].rpartition("/")[0]
        pattern = _glob_pattern(root[len(fixed) + 1 :])
        return fixed, [file for file in list_folder(fixed) if pattern.fullmatch(file.name)]
    return root, [file for file in list_folder(root) if file.name.lower().endswith(EXTENSIONS)]


def _glob_pattern(glob: str) -> re.Pattern[str]:
    """A glob as in Python's glob module: ** matches any folders, * and ? within a name, [...] one character."""
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])", glob)
    return re.compile("".join(meaning.get(p, p.replace("[!", "[^") if p.startswith("[") else re.escape(p)) for p in pieces))


def parquet_source(
    base: str,
    files: list[File],
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
) -> Source:
    """The source of Parquet files below `base`; `classes` are the names of the labels if the set is well known."""
    named = {file.name: named_split(file.name) for file in files}
    uses = decide_splits(set(named.values()))
    used = [file for file in files if named[file.name] in uses]
    used.sort(key=lambda file: uses[named[file.name]] == "test")
    splits = {file.name: uses[named[file.name]] for file in used}
    list_shards = functools.partial(_list_shards, base, splits, image_column, label_column, classes)
    return Source(digest(used), is_remote(base), list_shards)


@dataclass(frozen=True)
class _Footer:
    """A file's footer: its columns, the rows of each row group, the kind of labels and their names."""

    name: str
    image: str
    label: str | None
    kind: str | None  # "number" or "text"
    names: list[str] | None
    groups: list[int]


def _list_shards(
    base: str,
    splits: dict[str, str | None],
    image_column: str | None,
    label_column: str | None,
    classes: Sequence[str] | None,
) -> Listing:
    with ThreadPoolExecutor(8) as pool:  # on an object store each footer costs a few round trips
        footers = list(pool.map(lambda name: _footer(base, name, image_column, label_column), splits))
    kinds = {footer.kind: footer.name for footer in footers if footer.kind}
    if len(kinds) > 1:
        raise InputError(f"{base}: labels are numbers in {kinds['number']} but text in {kinds['text']}; they must be one kind.")
    if label_column is not None and not any(footer.label for footer in footers):
        raise InputError(f"{base}: no file has a column {label_column!r} (options.label_column).")
    if "text" in kinds:
        classes = _distinct(base, footers)
    elif classes is None:
        classes = next((footer.names for footer in footers if footer.names), None)
    shards, first_id = [], 0
    for footer in footers:
        for start, stop in _ranges(footer.groups):
            rows = ParquetRows(join(base, footer.name), footer.name, footer.image, footer.label, start, stop)
            shards.append(Shard(splits[footer.name], first_id + start, rows, stop - start, labelled=bool(kinds)))
        first_id += sum(footer.groups)
    return shards, None if classes is None else list(classes)


@retried
def _footer(base: str, name: str, image_column: str | None, label_column: str | None) -> _Footer:
    uri = join(base, name)
    system, path = filesystem(uri)
    try:
        with system.open_input_file(path) as handle:
            file = pq.ParquetFile(handle)
            schema, metadata = file.schema_arrow, file.metadata
    except pa.ArrowInvalid as error:
        raise InputError(f"{uri}: not a readable Parquet file: {first_line(error)}") from None
    image = _column(schema, (image_column,) if image_column else IMAGE_COLUMNS)
    if image is None:
        raise unknown(f"{uri}: image column (options.image_column)", image_column or " or ".join(IMAGE_COLUMNS), schema.names)
    kind = schema.field(image).type
    if not _binary(kind) and not (pt.is_struct(kind) and kind.get_field_index("bytes") >= 0):
        raise InputError(f"{uri}: column {image!r} is {kind}; expected binary, or a struct with a field bytes.")
    label = _column(schema, (label_column,) if label_column else LABEL_COLUMNS)
    if label is not None and pt.is_null(schema.field(label).type):
        label = None
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    return _Footer(name, image, label, label and _label_kind(uri, schema.field(label)), _label_names(schema, label), groups)


def _column(schema: pa.Schema, wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in schema.names), None)


def _binary(kind: pa.DataType) -> bool:
    return pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind)


def _label_kind(uri: str, field: pa.Field) -> str:
    kind = field.type.value_type if pt.is_dictionary(field.type) else field.type
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind):
        return "number"
    if pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind):
        return "text"
    raise InputError(f"{uri}: label column {field.name!r} is {field.type}; expected whole numbers or text.")


def _label_names(schema: pa.Schema, label: str | None) -> list[str] | None:
    """The class names that Hugging Face `datasets` writes into the schema's metadata."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return features[label].get("names")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


@retried
def _distinct(base: str, footers: list[_Footer]) -> list[str]:
    """The sorted distinct labels of all files; reads the label columns only."""
    found: set[str] = set()
    for footer in footers:
        if footer.label:
            system, path = filesystem(join(base, footer.name))
            with system.open_input_file(path) as handle:
                for batch in pq.ParquetFile(handle).iter_batches(columns=[footer.label]):
                    found.update(batch.column(0).unique().to_pylist())
    return sorted(label for label in found if label is not None)


def _ranges(groups: list[int]) -> list[tuple[int, int]]:
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
    """The rows [start, stop) of a file, read in small batches."""

    uri: str
    name: str
    image: str
    label: str | None
    start: int
    stop: int

    def __call__(self) -> Iterator[SourceRow]:
        columns = [self.image, self.label] if self.label else [self.image]
        system, path = filesystem(self.uri)
        with system.open_input_file(path) as handle:
            file = pq.ParquetFile(handle, buffer_size=BUFFER_BYTES, pre_buffer=False)
            groups, row = self._groups(file.metadata)
            for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns):
                skip = min(max(self.start - row, 0), len(batch))
                batch = batch.slice(skip, max(self.stop - row, 0) - skip)
                row += skip
                images = batch.column(self.image)
                if pt.is_struct(images.type):
                    images = images.flatten()[images.type.get_field_index("bytes")]
                labels = batch.column(self.label).to_pylist() if self.label else [None] * len(batch)
                for image, label in zip(images.to_pylist(), labels, strict=True):
                    yield SourceRow(image, label, f"{self.name}#{row}", Place(self.uri, row=row))
                    row += 1
                if row >= self.stop:
                    return

    def _groups(self, metadata: pq.FileMetaData) -> tuple[list[int], int]:
        """The row groups that hold the rows, and the first row of the first of them."""
        groups, first_row, row = [], 0, 0
        for i in range(metadata.num_row_groups):
            rows = metadata.row_group(i).num_rows
            if row < self.stop and row + rows > self.start:
                first_row = first_row if groups else row
                groups.append(i)
            row += rows
        return groups, first_row
