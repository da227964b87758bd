"""The images table in memory: decoded once, uint8, channels-last."""

import contextlib
import functools
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from dsopt.data import buffers, decoding, room
from dsopt.errors import InputError
from dsopt.files import first_line
from dsopt.storage import IMAGES, ORIGIN, Table, with_image_feature

CHUNK = 256  # images that a decoding thread takes at a time


@dataclass
class Images:
    """Decoded images. `images` is stored as [n, h, w, c] (channels-last); a label of -1 means no label.

    `soft` holds the class probabilities if the table has soft labels.
    """

    ids: Int64[Tensor, " n"]
    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    soft: Float32[Tensor, "n k"] | None = None


@torch.inference_mode(False)  # other threads fill what is allocated here, and they are in no mode of the caller's
def decode(table: pa.Table, threads: int | None = None, *, size: int | None = None) -> Images:
    """Decode rows with the columns `id`, `image` and, if present, `label`, `soft_label` and `key`, by which errors name a row.

    Uses `threads` threads, by default as many as torch, and torchvision's decoder if it is installed: on 2 cores it decodes
    44,000 JPEGs of 32x32 per second, PIL 16,000.

    Args:
        size: resize whole pictures to squares of so many pixels; None: all have the same size.

    Raises:
        InputError: no rows, an unreadable image, or images of different sizes.
    """
    if "image" not in table.column_names:
        raise InputError(f"a table of images needs a column image; this one has {', '.join(table.column_names)}.")
    files = _files(table["image"])
    if not files:
        raise InputError("a table of images has no rows.")
    shape = _decoded(files, table, 0, size).shape
    pixels = torch.empty(len(files), *shape[1:], shape[0], dtype=torch.uint8)
    images = pixels.permute(0, 3, 1, 2)

    def fill(start: int) -> None:
        some = [_decoded(files, table, i, size) for i in range(start, min(start + CHUNK, len(files)))]
        for i, image in enumerate(some, start):
            if image.shape != shape:
                raise _differs(_name(table, 0), shape, _name(table, i), image.shape)
        images[start : start + len(some)] = torch.stack(some)

    starts = range(0, len(files), CHUNK)
    with ThreadPoolExecutor(min(threads or torch.get_num_threads(), len(starts))) as pool:
        list(pool.map(fill, starts))
    return Images(_integers(table["id"]), images, _labels(table), _soft_labels(table))


def _files(column: pa.ChunkedArray) -> list[UInt8[Tensor, " _"]]:
    """The files of an image column, as views of one copy: torch needs writable memory, and Arrow's must not be written to."""
    files: list[Tensor] = []
    for chunk in column.chunks:
        data = chunk.flatten()[chunk.type.get_field_index("bytes")].cast(pa.large_binary())
        if data.null_count:
            raise InputError(f"a table of images has {data.null_count} rows without an image.")
        if len(data):
            _, offsets, values = data.buffers()  # of a binary array: validity bitmap, int64 offsets, the bytes
            ends = np.frombuffer(offsets, np.int64)[data.offset : data.offset + len(data) + 1]
            content = torch.from_numpy(np.frombuffer(values, np.uint8)[ends[0] : ends[-1]].copy())
            files += content.split(np.diff(ends).tolist())
    return files


def _decoded(files: list[UInt8[Tensor, " _"]], table: pa.Table, i: int, size: int | None) -> UInt8[Tensor, "c h w"]:
    try:
        return decoding.decoded(files[i]) if size is None else decoding.decoded_at(files[i], size)
    except (RuntimeError, OSError) as error:
        raise InputError(f"image {_name(table, i)} cannot be decoded: {first_line(error)}") from None


def _name(table: pa.Table, i: int) -> str:
    """A row by its id and, where it has one, its key: for a file of the user, its name."""
    key = f" ({table['key'][i]})" if "key" in table.column_names else ""
    return f"{table['id'][i]}{key}"


def _differs(name: Any, shape: torch.Size, other: Any, other_shape: torch.Size) -> InputError:
    return InputError(f"image {name} has shape {tuple(shape)}, image {other} {tuple(other_shape)}; all must be alike.")


def _integers(column: pa.ChunkedArray) -> Int64[Tensor, " n"]:
    return torch.from_numpy(column.to_numpy().astype(np.int64))  # a copy: Arrow's memory must not be written to


def _labels(table: pa.Table) -> Int64[Tensor, " n"]:
    if "label" not in table.column_names:
        return torch.full((len(table),), -1)
    return _integers(pc.fill_null(table["label"], -1))


def _soft_labels(table: pa.Table) -> Float32[Tensor, "n k"] | None:
    if "soft_label" not in table.column_names:
        return None
    column = table["soft_label"].combine_chunks()
    return torch.from_numpy(column.flatten().to_numpy().astype(np.float32)).view(len(column), -1)


def encode(images: Images, keys: Sequence[str]) -> pa.Table:
    """The rows of an images table, stored as PNG: the inverse of `decode`. A label of -1 becomes null; there are no originals."""
    labels = images.labels.cpu().numpy()
    columns = {
        "id": pa.array(images.ids.cpu().numpy()),
        "image": pa.array([{"bytes": _png(image), "path": None} for image in images.images.cpu()], IMAGES.field("image").type),
        "label": pa.array(labels, mask=labels < 0),
        "key": pa.array(keys, pa.string()),
    }
    columns |= {field.name: pa.nulls(len(labels), field.type) for field in ORIGIN}
    if images.soft is not None:
        flat = pa.array(images.soft.cpu().float().contiguous().flatten().numpy())
        columns["soft_label"] = pa.FixedSizeListArray.from_arrays(flat, images.soft.shape[1])
    table = pa.table(columns)
    return table.cast(with_image_feature(table.schema))


def _png(image: UInt8[Tensor, "c h w"]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(sink, "PNG")
    return sink.getvalue()


def find(ids: Int64[Tensor, " n"], known: Int64[Tensor, " m"]) -> Int64[Tensor, " n"]:
    """The row of each id in `known`; -1 if it is not there."""
    order = known.argsort()
    rows = order[torch.searchsorted(known[order], ids).clamp(max=len(known) - 1)]
    return torch.where(known[rows] == ids, rows, -1)


def rows(images: Images, chosen: Int64[Tensor, " k"], streamed: bool | None = None) -> Images:
    """A copy of the chosen rows; on disk if `streamed`, or if `streamed` is None and they do not fit in memory."""
    pixels = images.images.permute(0, 2, 3, 1)
    some = torch.index_select(pixels, 0, chosen, out=buffers.empty((len(chosen), *pixels.shape[1:]), streamed))
    soft = None if images.soft is None else images.soft[chosen]
    return Images(images.ids[chosen], some.permute(0, 3, 1, 2), images.labels[chosen], soft)


def joined(images: Images, others: Images, classes: int, streamed: bool | None = None) -> Images:
    """Concatenate two sets; if only one has soft labels, the labels of the other become one-hot probabilities.

    An id i of `others` becomes -1 - i: ingested images have ids >= 0, so ids stay distinct.

    Raises:
        InputError: images of different sizes.
    """
    if images.images.shape[1:] != others.images.shape[1:]:
        raise _differs(images.ids[0], images.images.shape[1:], others.ids[0], others.images.shape[1:])
    parts = [each.images.permute(0, 2, 3, 1) for each in (images, others)]
    pixels = torch.cat(parts, out=buffers.empty((sum(map(len, parts)), *parts[0].shape[1:]), streamed)).permute(0, 3, 1, 2)
    soft = [F.one_hot(each.labels, classes).float() if each.soft is None else each.soft for each in (images, others)]
    probabilities = None if images.soft is None and others.soft is None else torch.cat(soft)
    return Images(torch.cat([images.ids, -1 - others.ids]), pixels, torch.cat([images.labels, others.labels]), probabilities)


OnPart = Callable[[Images, int], None]  # (all images, the number of rows decoded so far)


def _unwatched(images: Images, rows: int) -> None: ...


@torch.inference_mode(False)  # images are cached: they must be of use outside of the caller's mode too
def load(
    uri: str,
    split: str | None = None,
    watch: OnPart = _unwatched,
    threads: int | None = None,
    memory: buffers.Pixels | None = None,
    streamed: bool | None = None,
    *,
    size: int | None = None,
) -> Images:
    """The images of a finished stage, decoded part by part and cached in this process: do not write into them.

    All are squares: whole pictures are resized.

    Args:
        watch: called after every part with all images and the number of rows decoded so far.
        threads: number of decoding threads; by default as many as torch uses.
        memory: where to put the images; ignored if they are cached already.
        streamed: keep them on disk, in a file shared by the processes of a machine, instead of in memory; None: if they do not fit,
            or other processes read them too (not with `watch`: what another process fills comes all at once).
        size: the side in pixels that larger images are resized to; None: as the table says.

    Raises:
        InputError: no such stage, no rows, or images of different channels.
        JobError: no space left on disk.
    """
    table = Table(uri)
    shape = _shape(table, size)
    kept = _kept(table.uri, split, streamed, shape)
    if kept:
        watch(kept[0], len(kept[0].ids))
    else:
        kept.append(_read(table, split, shape, watch, threads, memory, streamed))
    return kept[0]


def _shape(table: Table, size: int | None) -> tuple[int, int, int]:
    """Channels, height and width of the images of a table, of at most `size` pixels a side. Raises InputError if it has none."""
    manifest = table.manifest
    if "image" not in manifest["schema"]:
        raise InputError(f"{table.uri}: is no table of images; it has {', '.join(manifest['schema'])}.")
    c, h, w = manifest.get("shape") or (manifest["channels"], manifest["image_size"], manifest["image_size"])
    return (c, h, w) if size is None or size >= max(h, w) else (c, size, size)


@functools.lru_cache(maxsize=4)
def _kept(uri: str, split: str | None, streamed: bool | None, shape: tuple[int, int, int]) -> list[Images]:
    """The cache entry of a set: a list that is empty until the set is read. A list, so that `load` sees whether it was read."""
    return []


def _read(
    table: Table,
    split: str | None,
    shape: tuple[int, int, int],
    watch: OnPart,
    threads: int | None,
    memory: buffers.Pixels | None,
    streamed: bool | None,
) -> Images:
    n = table.rows(split)
    if not n:
        raise InputError(f"{table.uri}: has no {split or ''} images.")
    columns = [name for name in ("id", "image", "label", "soft_label", "key") if name in table.manifest["schema"]]
    c, h, w = shape
    shares = room.processes > 1 and watch is _unwatched
    with _buffer(table, split, (n, h, w, c), memory, streamed, shares) as (pixels, decoded):
        images, row, soft = pixels.permute(0, 3, 1, 2), 0, None
        ids, labels = (torch.empty(n, dtype=torch.int64) for _ in range(2))
        for block in table.blocks(split, [name for name in columns if name != "image" or not decoded]):
            if not len(block):
                continue
            here = slice(row, row + len(block))
            part = (
                Images(_integers(block["id"]), images[here], _labels(block), _soft_labels(block))
                if decoded
                else decode(block, threads, size=h if h == w else None)
            )
            if part.images.shape[1:] != images.shape[1:]:
                found, expected = tuple(part.images.shape[1:]), tuple(images.shape[1:])
                raise InputError(f"image {_name(block, 0)} has shape {found}, expected {expected}; all must be alike.")
            if not decoded:
                images[here] = part.images
            ids[here], labels[here] = part.ids, part.labels
            if part.soft is not None:
                soft = torch.empty(n, part.soft.shape[1]) if soft is None else soft
                soft[here] = part.soft
            row = here.stop
            watch(Images(ids, images, labels, soft), row)
    return Images(ids, images, labels, soft)


@contextlib.contextmanager
def _buffer(
    table: Table, split: str | None, shape: buffers.Shape, memory: buffers.Pixels | None, streamed: bool | None, shares: bool
) -> Iterator[tuple[buffers.Pixels, bool]]:
    """The buffer for all images of a split, and whether another process has filled it.

    Args:
        shares: whether other processes are to find it, on disk, even if it fits in memory.
    """
    fits = streamed is None and room.fits_memory(math.prod(shape))
    if memory is not None:
        yield memory, False
    elif streamed is False or (fits and not shares):
        yield torch.empty(shape, dtype=torch.uint8), False
    else:
        # The manifest is part of the name: a stage that was deleted and made again in the same place is another set.
        content = json.dumps([table.uri, split, shape, table.manifest], sort_keys=True)
        with buffers.shared(hashlib.sha256(content.encode()).hexdigest(), shape, else_memory=fits) as found:
            yield found
