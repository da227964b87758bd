"""Single rows of the image column of any Parquet file: only the row groups that hold them are read."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from dsopt.data.subsets import remote
from dsopt.errors import InputError
from dsopt.storage import content_digest

BATCH_BYTES = 8 << 20  # decoded at once: a row group may hold gigabytes of images
BUFFER_BYTES = 4 << 20
USUAL = ("image", "img")  # looked at before other columns


def read_rows(uri: str, wanted: Mapping[int, str | None]) -> dict[int, bytes]:
    """The images of some rows, from whichever column holds images with these digests.

    Args:
        wanted: row -> the digest of its image, if it is known.

    Raises:
        InputError: no column holds images.
        OSError, pa.ArrowException: the file cannot be read, or has no such row.
    """
    return remote.retried(lambda: _read_rows(uri, wanted)) if remote.is_remote(uri) else _read_rows(uri, wanted)


def _read_rows(uri: str, wanted: Mapping[int, str | None]) -> dict[int, bytes]:
    with _opened(uri) as handle:
        metadata, candidates = _footer(uri, *_stamp(uri))
        file = pq.ParquetFile(handle, metadata=metadata, buffer_size=BUFFER_BYTES, pre_buffer=False)
        column = _column(file, candidates, next(iter(wanted.items())))
        return dict(_images(file, column, sorted(wanted)))


def _images(file: pq.ParquetFile, column: str, rows: list[int]) -> Iterator[tuple[int, bytes]]:
    first, at = 0, 0
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        stop, end = first + group.num_rows, at
        while end < len(rows) and rows[end] < stop:
            end += 1
        if end > at:
            yield from _of_group(file, number, first, column, rows[at:end])
        first, at = stop, end
    if at < len(rows):
        raise pa.ArrowInvalid(f"there is no row {rows[at]}")


def _of_group(file: pq.ParquetFile, number: int, first: int, column: str, rows: list[int]) -> Iterator[tuple[int, bytes]]:
    group = file.metadata.row_group(number)
    leaf = next(i for i in range(group.num_columns) if group.column(i).path_in_schema == column)
    size = max(1, group.column(leaf).total_uncompressed_size // max(1, group.num_rows))
    at = 0
    for batch in file.iter_batches(min(max(1, BATCH_BYTES // size), group.num_rows), row_groups=[number], columns=[column]):
        images = batch.column(0)
        if pt.is_struct(images.type):
            images = images.field(images.type.get_field_index("bytes"))
        while at < len(rows) and rows[at] < first + len(batch):
            yield rows[at], images[rows[at] - first].as_py()
            at += 1
        if at == len(rows):
            return
        first += len(batch)


def _column(file: pq.ParquetFile, candidates: list[str], known: tuple[int, str | None]) -> str:
    """The column whose image in a row has the digest known of it; afterwards it is the only candidate."""
    row, wanted = known
    if len(candidates) > 1 and wanted is not None:
        for column in list(candidates):
            ((_, data),) = _images(file, column, [row])
            if data is not None and content_digest(data) == wanted:
                candidates[:] = [column]
                break
    return candidates[0]


@functools.lru_cache(maxsize=64)
def _footer(uri: str, size: int, modified: int) -> tuple[pq.FileMetaData, list[str]]:
    """A file's footer, kept between reads, and the columns that may hold its images, as the paths of their bytes."""
    with _opened(uri) as handle:
        metadata = pq.read_metadata(handle)
    columns = {}
    for field in metadata.schema.to_arrow_schema():
        if pt.is_struct(field.type) and (at := field.type.get_field_index("bytes")) >= 0 and _binary(field.type.field(at).type):
            columns[field.name] = f"{field.name}.bytes"
        elif _binary(field.type):
            columns[field.name] = field.name
    if not columns:
        raise InputError(f"{uri}: has no column of images.")
    return metadata, [columns[name] for name in sorted(columns, key=lambda name: name not in USUAL)]


def _binary(kind: pa.DataType) -> bool:
    return pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind)


def _stamp(uri: str) -> tuple[int, int]:
    """Size and time of a local file, so that a footer is not taken for that of a file which replaced it."""
    if remote.is_remote(uri):
        return 0, 0  # a request each time would cost more than the read; a replaced file fails at its digests
    found = os.stat(uri)
    return found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[Any]:
    if remote.is_remote(uri):
        with remote.file_system(uri).open(uri, "rb", cache_type="none") as file:
            yield file
    else:
        with pa.OSFile(uri) as file:
            yield file
