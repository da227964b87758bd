"""What the footer of a Parquet file says: its columns of images and labels, its row groups, and whether there are labels."""

import functools
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from dsopt.data.sources.labels import cleaned, kind_of, label_column, plainly, unused_splits, values
from dsopt.data.sources.layout import named_split, normal, partitions
from dsopt.data.sources.listing import File
from dsopt.errors import InputError, first_line, unknown
from dsopt.files import filesystem, join, read_range, retried, transient

IMAGE_COLUMNS = ("image", "img")
POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Footer:
    """A file's footer.

    Args:
        label: the column of labels; None if there is none, or `constant` is the label of all rows.
        kind: "number" or "text"; None without labels.
        names: the names of the numbers, which Hugging Face `datasets` writes into the schema's metadata.
        groups: the rows of each row group.
        image_bytes: the largest mean size of an image in a row group, in bytes.
        digest: of the footer's bytes.
        paths: the column of images holds paths only.
    """

    file: File
    image: str
    label: str | None
    constant: str | None
    kind: str | None
    names: tuple[str, ...] | None
    groups: tuple[int, ...]
    image_bytes: int
    digest: str
    paths: bool
    hints: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(self.groups)


@retried
def footer(base: str, file: File, image_column: str | None, wanted: str | None) -> Footer:
    """Read the footer of a file below `base`.

    Raises:
        InputError: the file cannot be read, or has no such columns.
    """
    uri = join(base, file.name)
    system, path = filesystem(uri)
    try:
        with system.open_input_file(path) as handle:
            parquet = pq.ParquetFile(handle)
            schema, metadata = parquet.schema_arrow, parquet.metadata
    except pa.ArrowInvalid as error:
        if read_range(uri, 0, len(POINTER)) == POINTER:
            raise InputError(f"{uri}: is a pointer of git-lfs, not the file itself; expected the file (git lfs pull).") from None
        raise InputError(f"{uri}: not a readable Parquet file: {first_line(error)}") from None
    if twice := next((name for name in schema.names if schema.names.count(name) > 1), None):
        raise InputError(f"{uri}: has two columns {twice!r}.")
    features = _features(schema)
    image = _image(uri, schema, image_column, features)
    constant, label, hints = None, None, ()
    parts = partitions(file.name)
    in_parts, _ = label_column(parts, wanted if wanted in parts else None)
    in_file = [name for name in schema.names if name != image]
    if in_parts is not None and (wanted == in_parts or wanted is None):
        constant = parts[in_parts]
    elif wanted is None or wanted in in_file:
        classes = [name for name in in_file if isinstance(features.get(name), dict) and features[name].get("_type") == "ClassLabel"]
        others = [name for name in in_file if kind_of(schema.field(name).type)] + [key for key in parts if key != "split"]
        label, hints = label_column(in_file, wanted, classes, others)
    if named_split(file.name) is None:
        hints += unused_splits(in_file, label)
    if label is not None and pt.is_null(schema.field(label).type):
        label = None
    kind = "text" if constant is not None else _kind(uri, schema.field(label)) if label else None
    names = features.get(label, {}).get("names") if label and isinstance(features.get(label), dict) else None
    groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    return Footer(
        *(file, image, label, constant, kind, _distinct_names(names) if names else None, groups),
        *(_image_bytes(metadata, image), _digest(metadata), _only_paths(schema, metadata, image), hints),
    )


def _distinct_names(names: Iterable[Any]) -> tuple[str, ...]:
    """The names of classes in NFC; a name that comes again, such as ImageNet's two cranes, gets a number."""
    counts: Counter[str] = Counter()
    found = []
    for name in (normal(str(each)) for each in names):
        counts[name] += 1
        found.append(f"{name} ({counts[name]})" if counts[name] > 1 else name)
    return tuple(found)


def _image(uri: str, schema: pa.Schema, wanted: str | None, features: dict[str, Any]) -> str:
    declared = [name for name, kind in features.items() if isinstance(kind, dict) and kind.get("_type") == "Image"]
    names = (wanted,) if wanted else (*IMAGE_COLUMNS, *declared)
    known = {} if wanted else {plainly(name): name for name in reversed(schema.names)}  # whatever their case
    image = next((found for name in names if (found := name if name in schema.names else known.get(name))), None)
    if image is None:
        raise unknown(f"{uri}: image column (options.image_column)", wanted or " or ".join(IMAGE_COLUMNS), schema.names)
    kind = schema.field(image).type
    struct = pt.is_struct(kind) and (kind.get_field_index("bytes") >= 0 or kind.get_field_index("path") >= 0)
    if not (binary(kind) or struct or kind_of(kind) == "text"):
        raise InputError(f"{uri}: column {image!r} is {kind}; expected binary, a path, or a struct with a field bytes.")
    return image


def binary(kind: pa.DataType) -> bool:
    return pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind)


def _kind(uri: str, field: pa.Field) -> str:
    kind = kind_of(field.type)
    if kind is None:
        raise InputError(f"{uri}: label column {field.name!r} is {field.type}; expected whole numbers or text.")
    return kind


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face `datasets` writes into the schema's metadata."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _columns(metadata: pq.FileMetaData, column: str) -> list[int]:
    """The leaf columns of a column."""
    if not metadata.num_row_groups:
        return []
    group = metadata.row_group(0)
    return [i for i in range(group.num_columns) if group.column(i).path_in_schema.partition(".")[0] == column]


def _image_bytes(metadata: pq.FileMetaData, image: str) -> int:
    columns = _columns(metadata, image)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    sizes = [sum(group.column(i).total_uncompressed_size for i in columns) // max(group.num_rows, 1) for group in groups]
    return max(sizes, default=0)


def _only_paths(schema: pa.Schema, metadata: pq.FileMetaData, image: str) -> bool:
    if not pt.is_struct(schema.field(image).type):
        return kind_of(schema.field(image).type) == "text"
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for column in (group.column(i) for i in _columns(metadata, image)):
            counted = column.statistics
            if column.path_in_schema.endswith(".bytes") and (counted is None or counted.null_count != group.num_rows):
                return False
    return True


def _digest(metadata: pq.FileMetaData) -> str:
    sink = io.BytesIO()
    metadata.write_metadata_file(sink)
    return hashlib.sha256(sink.getbuffer()).hexdigest()[:16]


# --- labels ------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def file_labels(uri: str, label: str, version: int, names: tuple[str, ...] | None) -> pa.Array:
    """The labels of a file, cleaned; reads that column only.

    Args:
        version: of the file; a part of the cache's key.
        names: if given, numbers become these names.
    """
    return cleaned(_read(uri, label), names)


@retried
def _read(uri: str, column: str) -> pa.ChunkedArray:
    system, path = filesystem(uri)
    with sound(uri), system.open_input_file(path) as handle:
        return pq.ParquetFile(handle).read(columns=[column])[column]


@contextmanager
def sound(uri: str) -> Iterator[None]:
    """A context that reads a file. Raises InputError, with its name, if its pages are damaged or it is gone."""
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and transient(error):
            raise
        raise InputError(f"{uri}: cannot be read: {first_line(error)}") from None


def has_labels(base: str, footers: Sequence[Footer]) -> bool:
    """Whether one of the rows has a label; on the hub -1 is none."""
    for one in footers:
        if one.constant is not None:
            return True
        if one.label and values(file_labels(join(base, one.file.name), one.label, one.file.version, None)):
            return True
    return False


def distinct(base: str, footers: Sequence[Footer]) -> set[str]:
    """The distinct text labels."""
    found = {one.constant for one in footers if one.constant is not None}
    for one in footers:
        if one.label and one.kind == "text":
            found |= set(values(file_labels(join(base, one.file.name), one.label, one.file.version, None)))
    return found


def label_digest(base: str, one: Footer) -> str:
    """A digest of the labels of a file."""
    if not one.label:
        return one.constant or ""
    labels = cleaned(_read(join(base, one.file.name), one.label))
    return hashlib.sha256(repr(labels.to_pylist()).encode()).hexdigest()[:16]


def paths(base: str, one: Footer) -> list[str]:
    """The paths of the images of a file that holds paths only; of any other none."""
    if not one.paths:
        return []
    found: list[Any] = _read(join(base, one.file.name), one.image).to_pylist()
    listed = [each.get("path") if isinstance(each, dict) else each for each in found]
    return [path for path in listed if path]
