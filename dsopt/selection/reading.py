"""Reading embeddings from Parquet in blocks of a few MB, however large a file or its row groups are."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dsopt import storage
from dsopt.errors import InputError
from dsopt.files import filesystem, read_table, retried

BLOCK = 1 << 21  # embedding values decoded at a time: 8 MB of float32
READ_BYTES = 1 << 24  # bytes fetched per request
UNLABELLED = -1
SHARD_ROWS = 1_000_000  # embeddings that a method holds at once: 864 MB with 216 elements

NONE = np.empty(0, np.int64)

Block = tuple[Int[Tensor, " b"], Int[Tensor, " b"], Float[Tensor, "b d"]]  # ids, labels and embeddings


@retried
def schema_of(part: storage.Part) -> pa.Schema:
    """The columns of a part, from its footer."""
    system, path = filesystem(part.uri)
    with system.open_input_file(path) as file:
        return pq.read_schema(file)


def embedding_size(part: storage.Part) -> int:
    """The number of elements of an embedding. Raises InputError if the file has no column `embedding`."""
    schema = schema_of(part)
    if "embedding" not in schema.names:
        raise InputError(f"{part.uri}: has no column `embedding`; the columns are {', '.join(schema.names)}.")
    return schema.field("embedding").type.shape[0]


def blocks(part: storage.Part, without: np.ndarray = NONE) -> Iterator[Block]:
    """Yield the ids, labels and embeddings of a part, block by block.

    Args:
        without: ids of rows to leave out, sorted.

    Raises:
        InputError: an embedding is null or not finite.
    """
    size = embedding_size(part)
    system, path = filesystem(part.uri)
    # pre_buffer, pyarrow's default, would hold the bytes of a whole row group, which may be the whole file.
    reader = functools.partial(pq.ParquetFile, buffer_size=READ_BYTES, pre_buffer=False)
    with system.open_input_file(path) as file, reader(file) as parquet:
        for batch in parquet.iter_batches(max(BLOCK // size, 1), columns=["id", "label", "embedding"]):
            column = batch.column("embedding")
            values = column.storage.flatten()
            if column.null_count or values.null_count or not _finite(values.to_numpy()):
                raise InputError(f"{part.uri}: an embedding is null or not finite; did its training diverge?")
            embeddings = torch.from_dlpack(values).view(-1, size).float()  # from fp16, if stored so
            ids = torch.from_dlpack(batch.column("id"))
            labels = torch.from_dlpack(batch.column("label").fill_null(UNLABELLED))
            if len(without):
                there = torch.from_numpy(~among(ids.numpy(), without))
                ids, labels, embeddings = ids[there], labels[there], embeddings[there]
            yield ids, labels, embeddings


def among(ids: Int[np.ndarray, " n"], known: Int[np.ndarray, " m"]) -> Bool[np.ndarray, " n"]:
    """Which ids are among sorted ones."""
    return known[np.searchsorted(known, ids).clip(max=len(known) - 1)] == ids if len(known) else np.zeros(len(ids), bool)


class Keys(NamedTuple):
    """The ids and labels of all rows, in the order of the parts."""

    parts: list[storage.Part]  # sorted by their lowest id: if parts do not overlap, streaming need not compare ids of equal values
    ids: np.ndarray
    labels: np.ndarray


def keys_of(parts: Sequence[storage.Part], without: np.ndarray = NONE) -> Keys:
    """The ids and labels of all rows but some, in the order of the returned parts; 16 bytes per row.

    Raises:
        InputError: there are no rows, or an id is not unique.
    """
    tables = {part: _but(read_table(part.uri, ["id", "label"]), without) for part in parts}
    tables = {part: table for part, table in tables.items() if len(table)}
    if not tables:
        raise InputError("selection: the table has no rows" + (" but those that select.drop leaves out." if len(without) else "."))
    by_id = sorted(tables, key=lambda part: tables[part]["id"].to_numpy().min())
    table = pa.concat_tables([tables[part] for part in by_id])
    ids = table["id"].to_numpy()
    ordered = np.sort(ids, kind="stable")  # linear time if they are sorted already
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise InputError(f"{by_id[0].uri} and its like: the id {twice} comes twice; ids must be unique.")
    return Keys(by_id, ids, table["label"].fill_null(UNLABELLED).to_numpy())


def _but(table: pa.Table, without: np.ndarray) -> pa.Table:
    return table.filter(pa.array(~among(table["id"].to_numpy(), without))) if len(without) else table


@retried
def all_embeddings(parts: Sequence[storage.Part], without: np.ndarray = NONE) -> Float[Tensor, "n d"]:
    """The embeddings of all parts, in order, in memory, without those of the ids `without`."""
    return torch.cat([embeddings for part in parts for _, _, embeddings in blocks(part, without)])


def of_ids(
    parts: Sequence[storage.Part], ids: Int[Tensor, " n"]
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"], Float[Tensor, "m d"]]:
    """Ids, labels and embeddings of those of these images that the parts hold, in their order; only these are kept in memory."""
    kept = []
    for part in parts:
        for found, labels, embeddings in blocks(part):
            here = torch.isin(found, ids)
            kept.append((found[here], labels[here], embeddings[here]))
    known, labels, embeddings = (torch.cat(columns) for columns in zip(*kept, strict=True))
    return known, labels, embeddings


def _finite(values: Float[np.ndarray, " c"]) -> bool:
    """Whether all values are finite. If their sum is finite they are, and a sum is faster than a test of each."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())
