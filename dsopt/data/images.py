"""Images in memory: decoded once, uint8, channels-last; the rows of an images table."""

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from dsopt.data import buffers, decoding, encoded
from dsopt.errors import InputError
from dsopt.files import first_line
from dsopt.storage import IMAGES, ORIGIN, with_image_feature

CHUNK = 256  # images that a decoding thread takes at a time

if TYPE_CHECKING:
    Pixels = Tensor  # as it is for everyone who does not ask `load` for encoded images
else:
    Pixels = UInt8[Tensor, "n c h w"] | encoded.Encoded


@dataclass
class Images:
    """Decoded images. `images` is stored as [n, h, w, c] (channels-last); a label of -1 means no label.

    If whoever loads them allows it (`load`), `images` is an `Encoded`, which stands for the same tensor where batches are taken.

    `soft` holds the class probabilities if the table has soft labels. `seconds` is what reading and decoding them took, where they
    were read: also of those that were in the cache. By `name` other processes of this machine find the same images in a file; None:
    they are this process's own.
    """

    ids: Int64[Tensor, " n"]
    images: Pixels
    labels: Int64[Tensor, " n"]
    soft: Float32[Tensor, "n k"] | None = None
    seconds: float = 0.0
    name: str | None = None


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
                raise _differs(name_of(table, 0), shape, name_of(table, i), image.shape)
        images[start : start + len(some)] = torch.stack(some)

    starts = range(0, len(files), CHUNK)
    with ThreadPoolExecutor(min(threads or torch.get_num_threads(), len(starts))) as pool:
        list(pool.map(fill, starts))
    return Images(integers(table["id"]), images, labels_of(table), soft_labels_of(table))


def _files(column: pa.ChunkedArray) -> list[UInt8[Tensor, " _"]]:
    """The files of an image column, as views of one copy: torch needs writable memory, and Arrow's must not be written to."""
    files: list[Tensor] = []
    for data in encoded_files(column).chunks:
        if len(data):
            _, offsets, values = data.buffers()  # of a binary array: validity bitmap, int64 offsets, the bytes
            ends = np.frombuffer(offsets, np.int64)[data.offset : data.offset + len(data) + 1]
            content = torch.from_numpy(np.frombuffer(values, np.uint8)[ends[0] : ends[-1]].copy())
            files += content.split(np.diff(ends).tolist())
    return files


def encoded_files(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The files of an image column. Raises InputError if one is missing."""
    chunks = [chunk.flatten()[chunk.type.get_field_index("bytes")].cast(pa.large_binary()) for chunk in column.chunks]
    if missing := sum(chunk.null_count for chunk in chunks):
        raise InputError(f"a table of images has {missing} rows without an image.")
    return pa.chunked_array(chunks, type=pa.large_binary())


def _decoded(files: list[UInt8[Tensor, " _"]], table: pa.Table, i: int, size: int | None) -> UInt8[Tensor, "c h w"]:
    try:
        return decoding.decoded(files[i]) if size is None else decoding.decoded_at(files[i], size)
    except (RuntimeError, OSError) as error:
        raise InputError(f"image {name_of(table, i)} cannot be decoded: {first_line(error)}") from None


def name_of(table: pa.Table, i: int) -> str:
    """A row by its id and, where it has one, its key: for a file of the user, its name."""
    key = f" ({table['key'][i]})" if "key" in table.column_names else ""
    return f"{table['id'][i]}{key}"


def _differs(name: Any, shape: torch.Size, other: Any, other_shape: torch.Size) -> InputError:
    return InputError(f"image {name} has shape {tuple(shape)}, image {other} {tuple(other_shape)}; all must be alike.")


def integers(column: pa.ChunkedArray) -> Int64[Tensor, " n"]:
    return torch.from_numpy(column.to_numpy().astype(np.int64))  # a copy: Arrow's memory must not be written to


def labels_of(table: pa.Table) -> Int64[Tensor, " n"]:
    if "label" not in table.column_names:
        return torch.full((len(table),), -1)
    return integers(pc.fill_null(table["label"], -1))


def soft_labels_of(table: pa.Table) -> Float32[Tensor, "n k"] | None:
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
    """A copy of the chosen rows, one for all processes that share the images; otherwise on disk if `streamed`, or if `streamed` is
    None and they do not fit in memory.
    """
    soft = None if images.soft is None else images.soft[chosen]
    files: Any = images.images
    if isinstance(files, encoded.Encoded):
        return Images(images.ids[chosen], cast(Any, files.rows(chosen)), images.labels[chosen], soft)
    pixels = images.images.permute(0, 2, 3, 1)
    name = None if images.name is None else derived_name(images.name, chosen)
    with buffers.buffer(name, (len(chosen), *pixels.shape[1:]), streamed) as (some, filled):
        if not filled:
            torch.index_select(pixels, 0, chosen, out=some)
    return Images(images.ids[chosen], some.permute(0, 3, 1, 2), images.labels[chosen], soft, name=name)


def derived_name(name: str, other: Tensor | str) -> str:
    """The name of what is made of named images by some of their rows, or by other named images."""
    data = other.encode() if isinstance(other, str) else other.numpy().tobytes()
    return hashlib.sha256(name.encode() + data).hexdigest()


def joined(images: Images, others: Images, classes: int, streamed: bool | None = None) -> Images:
    """Concatenate two sets, both decoded or both encoded.

    If only one has soft labels, the labels of the other become one-hot probabilities.

    An id i of `others` becomes -1 - i: ingested images have ids >= 0, so ids stay distinct.

    Raises:
        InputError: images of different sizes.
    """
    if images.images.shape[1:] != others.images.shape[1:]:
        raise _differs(images.ids[0], images.images.shape[1:], others.ids[0], others.images.shape[1:])
    files, name = cast(Any, images.images), None
    if isinstance(files, encoded.Encoded):
        pixels: Any = files.joined(cast(Any, others.images))
    else:
        parts = [each.images.permute(0, 2, 3, 1) for each in (images, others)]
        name = None if images.name is None or others.name is None else derived_name(images.name, others.name)
        with buffers.buffer(name, (sum(map(len, parts)), *parts[0].shape[1:]), streamed) as (both, filled):
            pixels = both.permute(0, 3, 1, 2) if filled else torch.cat(parts, out=both).permute(0, 3, 1, 2)
    soft = [F.one_hot(each.labels, classes).float() if each.soft is None else each.soft for each in (images, others)]
    probabilities = None if images.soft is None and others.soft is None else torch.cat(soft)
    return Images(
        torch.cat([images.ids, -1 - others.ids]), pixels, torch.cat([images.labels, others.labels]), probabilities, name=name
    )
