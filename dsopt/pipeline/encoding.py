"""Embedding the parts of an images table, in the process that has the device.

A part is read in blocks; while the network embeds one, threads decode the next. Decoded pictures never leave the process.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from dsopt.config import DataConfig
from dsopt.data import decoding
from dsopt.data.copies import background
from dsopt.data.nvjpeg import GpuDecoder
from dsopt.data.pixels import Unusable, rgb
from dsopt.data.subsets.originals import places, read_originals
from dsopt.errors import InputError, JobError
from dsopt.files import filesystem, first_line, read_table, retried
from dsopt.learners.placement import autocast
from dsopt.models.libraries.contract import Encoder
from dsopt.pipeline.parts import write_part
from dsopt.storage import ORIGIN, Part, Stage, embeddings_schema
from dsopt.training.worker import Worker

BLOCK = 512  # images in memory at once, decoded, while the next are read; more, if they are small
BLOCK_BYTES = 64 << 20
COLUMNS = ["id", "image", "label", "key"]

T = TypeVar("T")


class Embedder(NamedTuple):
    """What makes embeddings of files.

    Args:
        see: an encoded picture -> a tensor, all of one shape; called by several threads. Raises RuntimeError, OSError or Unusable.
        embed: a batch of these, on the device -> [b, d].
        size: of what is seen, in pixels a side; None: not known.
        originals: see the originals, where these have more pixels than the working copies.
        see_many: files -> what `see` gives of each but for rounding, or None for what is left to `see`; None: `see` sees all.
    """

    see: Callable[[bytes], Tensor]
    embed: Callable[[Tensor], Tensor]
    size: int | None
    originals: bool = False
    see_many: Callable[[list[bytes]], list[Tensor | None]] | None = None


class Embedded(NamedTuple):
    """The embeddings of a part; a label of -1 means none."""

    ids: Int64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]
    values: Float32[np.ndarray, "n d"]


class Known(NamedTuple):
    """Embeddings that are there already.

    Args:
        places: of each row of a part, where its embedding is; -1: it is to be made.
        read: gives those at some places.
    """

    places: Int64[np.ndarray, " n"]
    read: Callable[[Int64[np.ndarray, " m"]], Float32[np.ndarray, "m d"]]


def of_copies(embed: Callable[[Tensor], Tensor], size: int) -> Embedder:
    """Embeds the working copies as squares of `size` pixels, uint8 [c, h, w]."""
    return Embedder(lambda data: decoding.decoded_at(decoding.as_tensor(data), size), embed, size)


def of_encoder(encoder: Encoder, data: DataConfig, device: torch.device, decode: str = "cpu") -> Embedder:
    """Embeds pictures as a library's encoder takes them.

    Args:
        decode: "gpu": JPEGs are decoded on the device, in full: the CPU decodes large ones at a part of their size.

    Raises:
        InputError: they cannot be.
    """
    see_many = None
    if decode == "gpu":
        if device.type != "cuda":
            raise InputError("embed.decode=gpu: the encoder runs on a CPU here; expected a GPU, or embed.decode=cpu.")
        assert encoder.shrunk is not None  # the stage refuses others
        see_many = GpuDecoder(encoder.shrunk, device)
    network = encoder.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    below = background(data)

    def embed(batch: Tensor) -> Tensor:
        found = network(encoder.finish(batch).to(memory_format=torch.channels_last))
        if found.ndim != 2:
            raise InputError(f"the encoder gives embeddings of shape {list(found.shape)}; expected [batch, numbers].")
        return found

    larger = encoder.size is None or encoder.size > data.image_size
    return Embedder(lambda file: encoder.see(rgb(file, below, encoder.drafted)), embed, encoder.size, larger, see_many)


@retried
def embed_part(
    part: Part,
    embedders: Sequence[Embedder],
    worker: Worker,
    batch_size: int,
    dtype: torch.dtype,
    image_size: int,
    known: Known | None = None,
) -> Embedded:
    """The embeddings of a part, those of several embedders side by side. Batches never cross parts.

    Args:
        dtype: of the networks' arithmetic, see `autocast`.
        image_size: of the working copies.
        known: embeddings that are not made again.

    Raises:
        InputError: an image cannot be decoded, or its original has changed or is not to be seen from here.
    """
    most = max((each.size or image_size) for each in embedders)
    block = batch_size * max(1, max(BLOCK, BLOCK_BYTES // (3 * most**2)) // batch_size)
    originals = any(each.originals for each in embedders)

    def see(rows: pa.Table) -> list[Tensor]:
        files = _files(rows)
        larger = _originals(rows, files, image_size) if originals else files
        return [_seen(each, larger if each.originals else files, rows, pool, worker) for each in embedders]

    keys, made = read_table(part.uri, ["id", "label"]), list[Tensor]()
    fresh = np.ones(len(keys), bool) if known is None else known.places < 0
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
        blocks = _blocks(part, block, [*COLUMNS, *(ORIGIN.names if originals else [])])
        for _, seen in _ahead(see, _only(fresh, blocks)):
            values = [_embedded(each, images, worker, batch_size, dtype) for each, images in zip(embedders, seen, strict=True)]
            made.append(torch.cat(values, 1))
    values = torch.cat(made).numpy() if made else None
    if known is not None and not fresh.all():
        values = _joined(values, fresh, known)
    assert values is not None  # a part has rows
    return Embedded(keys["id"].to_numpy(), pc.fill_null(keys["label"], -1).to_numpy(), values)


def _only(wanted: Bool[np.ndarray, " n"], blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Blocks without the rows that are not wanted."""
    done = 0
    for rows in blocks:
        here = wanted[done : done + len(rows)]
        done += len(rows)
        if here.any():
            yield rows if here.all() else rows.filter(pa.array(here))


def _joined(made: Float32[np.ndarray, "f d"] | None, fresh: Bool[np.ndarray, " n"], known: Known) -> Float32[np.ndarray, "n d"]:
    there = known.read(known.places[~fresh])
    values = np.empty((len(fresh), there.shape[1]), np.float32)
    values[~fresh] = there
    if made is not None:
        values[fresh] = made
    return values


def write_embeddings(item: tuple[int, Embedded], stage: Stage, dtype: str = "fp32") -> dict[str, Any]:
    """Write the embeddings of one part; gives its entry in the journal. Raises JobError for values that are not finite."""
    index, (ids, labels, values) = item
    schema = embeddings_schema(values.shape[1], dtype)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype=schema.field("embedding").type.value_type.to_pandas_dtype())
    if not np.isfinite(values).all():
        why = "the network that makes them diverged" if dtype == "fp32" else f"they may be too large for embed.dtype={dtype}"
        raise JobError(f"{stage.uri}: embeddings are not finite; {why}.")
    columns = [pa.array(ids), pa.array(labels, mask=labels < 0), pa.FixedShapeTensorArray.from_numpy_ndarray(values)]
    part = write_part(stage, index, pa.table(columns, schema=schema))
    return {"index": index, "part": part, "size": values.shape[1]}


@torch.inference_mode()
def _embedded(embedder: Embedder, images: Tensor, worker: Worker, batch_size: int, dtype: torch.dtype) -> Tensor:
    def forward(batch: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(dtype, worker.device):  # in a thread of its own, on a CPU
            return embedder.embed(batch.to(worker.device, non_blocking=True)).float().cpu()

    return worker.map(forward, images, batch_size)


def _seen(embedder: Embedder, files: list[bytes], rows: pa.Table, pool: ThreadPoolExecutor, worker: Worker) -> Tensor:
    seen = embedder.see_many(files) if embedder.see_many else [None] * len(files)

    def one(i: int) -> Tensor:
        if (there := seen[i]) is not None:
            return there
        try:
            return embedder.see(files[i])
        except (RuntimeError, OSError, Unusable) as error:
            raise InputError(f"image {rows['id'][i]} ({rows['key'][i]}) cannot be decoded: {first_line(error)}") from None

    images = torch.stack(list(pool.map(one, range(len(files)))))
    return images.pin_memory() if worker.device.type == "cuda" else images


def _blocks(part: Part, rows: int, columns: list[str]) -> Iterator[pa.Table]:
    system, path = filesystem(part.uri)
    # pre_buffer, pyarrow's default, would hold the bytes of a whole row group, which may be the whole file.
    with system.open_input_file(path) as file, pq.ParquetFile(file, buffer_size=1 << 24, pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(rows, columns=columns):
            yield pa.Table.from_batches([batch])


def _files(rows: pa.Table) -> list[bytes]:
    return [image["bytes"].as_py() for chunk in rows["image"].chunks for image in chunk]


def _originals(rows: pa.Table, files: list[bytes], image_size: int) -> list[bytes]:
    """The originals of rows, where they have more pixels than the working copies `files`; else these."""
    short = pc.min_element_wise(rows["width"], rows["height"])  # pyright: ignore[reportAttributeAccessIssue]
    wanted = pc.and_(rows["uri"].is_valid(), pc.fill_null(pc.greater(short, image_size), False))  # pyright: ignore[reportAttributeAccessIssue]
    indices, larger = np.flatnonzero(wanted.to_numpy(zero_copy_only=False)), list(files)
    for i, data in zip(indices, read_originals(places(rows.take(indices))), strict=True):
        larger[i] = data
    return larger


def _ahead(function: Callable[[pa.Table], T], items: Iterable[pa.Table]) -> Iterator[tuple[pa.Table, T]]:
    """Each item with its result; that of the next is computed in a thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            following = item, pool.submit(function, item)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1].result()
