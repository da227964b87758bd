"""embed with embed.source=table: the user's own embeddings, in the order and the parts of the images, in bounded memory."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float, Int64

from dsopt.config import Config
from dsopt.data.sets.parquet import parquet_files
from dsopt.data.sources.listing import digest
from dsopt.errors import InputError
from dsopt.files import filesystem, first_line, join, read_table, retried
from dsopt.pipeline.encoding import Embedded, write_embeddings
from dsopt.pipeline.scatter import Scatter
from dsopt.progress import Progress, say
from dsopt.storage import Stage, Table, embeddings_schema
from dsopt.training.worker import Worker

BLOCK = 1 << 21  # numbers read at a time
SHOWN = 3  # ids in a message


class Given(NamedTuple):
    """The user's files, and what their rows say which image they are of: `id` or `key`."""

    where: str
    files: list[str]
    by: str
    width: int


def fingerprint(table: str) -> dict[str, Any]:
    """Fingerprint of the user's embedding files. Raises InputError if there are none."""
    found = parquet_files(table)[1]
    if not found:
        raise InputError(f"embed.table={table}: there are no Parquet files.")
    return digest(found)


def take_over(worker: Worker, stage: Stage, config: Config) -> None:
    """Write the user's embeddings as the embeddings table.

    The ids or keys of all rows are read first (8 bytes a row, or the keys), so that a missing image is told before anything is
    written. The embeddings are then read once, a block at a time, see `Scatter`.

    Raises:
        InputError: a file is no Parquet or of other types, an image has no row, or more than one.
    """
    assert config.embed.table is not None
    given, parts, dtype = _given(config.embed.table), Table(stage.inputs["images"].uri).parts("train"), config.embed.dtype
    places = _places(given, pa.chunked_array([chunk for part in parts for chunk in read_table(part.uri, [given.by])[0].chunks]))
    progress, seen, written = Progress("embed table", len(places), "rows"), 0, dict[int, dict[str, Any]]()
    with Scatter([part.rows for part in parts], given.width) as scatter:
        for values in _values(given):
            here = places[seen : seen + len(values)]
            for index, filled in scatter.add(here[here >= 0], values[here >= 0]):
                keys = read_table(parts[index].uri, ["id", "label"])
                embedded = Embedded(keys["id"].to_numpy(), keys["label"].fill_null(-1).to_numpy(), filled)
                written[index] = write_embeddings((index, embedded), stage, dtype)["part"]
            seen += len(values)
            progress.update(seen)
    schema = embeddings_schema(given.width, dtype)
    stage.commit([written[index] for index in sorted(written)], schema, seconds=0.0, embedding_size=given.width)


def _given(table: str) -> Given:
    """What there is, from the files' schemas."""
    folder, names = parquet_files(table)
    files, found = [join(folder, file.name) for file in names], set[tuple[str, int | None]]()
    for uri in files:
        schema = _schema(uri)
        by = next((name for name in ("id", "key") if name in schema.names), None)
        if by is None or "embedding" not in schema.names:
            lacks = "embedding" if by else "id` or `key"
            raise InputError(f"{uri}: has no column `{lacks}`; the columns are {', '.join(schema.names)}.")
        kind, expected = schema.field(by).type, "whole numbers" if by == "id" else "text"
        if not (pa.types.is_integer(kind) if by == "id" else pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InputError(f"{uri}: column `{by}` has the type {kind}; expected {expected}.")
        found.add((by, _width(uri, schema.field("embedding").type)))
    if len({by for by, _ in found}) > 1:
        raise InputError(f"embed.table={table}: some files have a column `id`, others only `key`; expected one of them in all.")
    widths = {width for _, width in found} - {None} or {_first_width(files)}
    (by, *_), (width, *more) = {by for by, _ in found}, widths
    if more or not width:
        raise InputError(
            f"embed.table={table}: embeddings of {' and '.join(map(str, sorted(widths, key=str)))} numbers; expected one length."
        )
    return Given(f"embed.table={table}", files, by, width)


@retried
def _schema(uri: str) -> pa.Schema:
    system, path = filesystem(uri)
    try:
        with system.open_input_file(path) as file:
            return pq.read_schema(file)
    except pa.ArrowInvalid as error:
        raise InputError(f"embed.table: {uri}: is no Parquet file: {first_line(error)}") from None


def _width(uri: str, kind: pa.DataType) -> int | None:
    """The numbers of an embedding, where the column's type says it."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    fixed = pa.types.is_fixed_size_list(kind)
    value = kind.value_type if fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind) else None
    if value is None or not (pa.types.is_floating(value) or pa.types.is_integer(value)):
        raise InputError(f"{uri}: column `embedding` has the type {kind}; expected lists of numbers.")
    return kind.list_size if fixed else None


def _first_width(files: list[str]) -> int | None:
    for uri in files:
        for column in _read(uri, "embedding", 1):
            return len(column[0]) if column[0].is_valid else 0
    return None


def _places(given: Given, images: pa.ChunkedArray) -> Int64[np.ndarray, " n"]:
    """The place of every row's image among all training images; -1 for rows of other images."""
    named = pa.chunked_array([column.cast(images.type) for uri in given.files for column in _read(uri, given.by, BLOCK)])
    found = pc.fill_null(pc.index_in(named, images), -1).to_numpy().astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]
    counts = np.bincount(found[found >= 0], minlength=len(images))
    for wrong, problem in ((counts == 0, "no row"), (counts > 1, "more than one row")):
        if wrong.any():
            some = ", ".join(str(images[int(i)].as_py()) for i in np.flatnonzero(wrong)[:SHOWN])
            many = f"{wrong.sum():,} of {len(images):,} training images"
            raise InputError(f"{given.where}: has {problem} for {many}, such as those with {given.by} {some}.")
    if others := int((found < 0).sum()):
        say("embed table", f"{others:,} rows are of no training image; they are left out")
    return found


def _values(given: Given) -> Iterator[Float[np.ndarray, "b d"]]:
    """The embeddings of all rows in order, block by block."""
    for uri in given.files:
        for column in _read(uri, "embedding", max(BLOCK // given.width, 1)):
            column = column.storage if isinstance(column, pa.ExtensionArray) else column
            flat, lengths = column.flatten(), pc.list_value_length(column)  # pyright: ignore[reportAttributeAccessIssue]
            if column.null_count or flat.null_count:
                raise InputError(f"{uri}: an embedding, or a number in it, is null.")
            if (lengths.to_numpy() != given.width).any():
                raise InputError(
                    f"{uri}: an embedding has another length than the first one; expected {given.width} numbers in all."
                )
            values = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
            if not np.isfinite(values).all():
                raise InputError(f"{uri}: an embedding is not finite.")
            yield values.reshape(-1, given.width)


def _read(uri: str, name: str, rows: int) -> Iterator[pa.Array]:
    """A column of a file, `rows` rows at a time; where an object store was away, it goes on after what was read."""
    reading, done = None, 0

    @retried
    def following() -> pa.Array | None:
        nonlocal reading
        reading = reading or islice(_batches(uri, name, rows), done, None)
        try:
            return next(reading, None)
        except OSError:
            reading = None
            raise

    while (column := following()) is not None:
        done += 1
        yield column


def _batches(uri: str, name: str, rows: int) -> Iterator[pa.Array]:
    system, path = filesystem(uri)
    # pre_buffer, pyarrow's default, would hold the bytes of a whole row group, which may be the whole file.
    with system.open_input_file(path) as file, pq.ParquetFile(file, buffer_size=1 << 24, pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(rows, columns=[name]):
            yield batch.column(0)
