"""The images of a table loaded: decoded, where they have room, in memory or on disk; else encoded, to be decoded batch by batch."""

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pyarrow as pa
import torch

from dsopt.data import buffers, encoded, room
from dsopt.data.images import Images, decode, encoded_files, integers, labels_of, name_of, soft_labels_of
from dsopt.errors import InputError
from dsopt.progress import say
from dsopt.progress import size as size_of
from dsopt.storage import Table

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
    decoded: bool | None = True,
    anew: bool = False,
) -> Images:
    """The images of a finished stage, decoded part by part and cached in this process: do not write into them.

    All are squares: whole pictures are resized.

    Args:
        watch: called after every part that is decoded, with all images and the number of rows decoded so far.
        threads: number of decoding threads; by default as many as torch uses.
        memory: where to put the images; ignored if they are cached already.
        streamed: keep them on disk, in a file shared by the processes of a machine, instead of in memory; None: if they do not fit,
            or other processes read them too (not with `watch`: what another process fills comes all at once).
        size: the side in pixels that larger images are resized to; None: as the table says.
        decoded: False: keep them encoded, as an `Encoded`; None: only if decoded ones fit neither in memory nor on disk.
        anew: read them again even if they are cached, and cache these.

    Raises:
        InputError: no such stage, no rows, or images of different channels.
        JobError: no space left on disk.
    """
    table = Table(uri)
    shape = _shape(table, size)
    decode_all = _have_room(table, split, shape, streamed) if decoded is None else decoded
    kept = _kept(table.uri, split, streamed, shape, decode_all)
    if kept and not anew:
        watch(kept[0], len(kept[0].ids))
        return kept[0]
    kept.clear()
    started = time.perf_counter()
    if decode_all:
        kept.append(_read(table, split, shape, watch, threads, memory, streamed))
    else:
        if decoded is None:
            _tell(table, split, streamed)
        kept.append(_read_encoded(table, split, shape, streamed))
    kept[0].seconds = time.perf_counter() - started
    return kept[0]


def _shape(table: Table, size: int | None) -> tuple[int, int, int]:
    """Channels, height and width of the images of a table, of at most `size` pixels a side. Raises InputError if it has none."""
    manifest = table.manifest
    if "image" not in manifest["schema"]:
        raise InputError(f"{table.uri}: is no table of images; it has {', '.join(manifest['schema'])}.")
    c, h, w = manifest.get("shape") or (manifest["channels"], manifest["image_size"], manifest["image_size"])
    return (c, h, w) if size is None or size >= max(h, w) else (c, size, size)


@functools.lru_cache(maxsize=4)
def _kept(uri: str, split: str | None, streamed: bool | None, shape: tuple[int, int, int], decoded: bool) -> list[Images]:
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
    n, (c, h, w), columns = _rows(table, split), shape, _columns(table)
    shares = memory is None and room.processes > 1 and watch is _unwatched and streamed is not False
    whole, name = (n, h, w, c), _name_of(table, split, (n, h, w, c))
    on_disk = shares or _streams(math.prod(whole), streamed)
    with buffers.buffer(name if on_disk else None, whole, streamed) if memory is None else nullcontext((memory, False)) as found:
        pixels, decoded = found
        images, row, soft = pixels.permute(0, 3, 1, 2), 0, None
        ids, labels = (torch.empty(n, dtype=torch.int64) for _ in range(2))
        for block in table.blocks(split, [name for name in columns if name != "image" or not decoded]):
            if not len(block):
                continue
            here = slice(row, row + len(block))
            part = (
                Images(integers(block["id"]), images[here], labels_of(block), soft_labels_of(block))
                if decoded
                else decode(block, threads, size=h if h == w else None)
            )
            if part.images.shape[1:] != images.shape[1:]:
                found, expected = tuple(part.images.shape[1:]), tuple(images.shape[1:])
                raise InputError(f"image {name_of(block, 0)} has shape {found}, expected {expected}; all must be alike.")
            if not decoded:
                images[here] = part.images
            ids[here], labels[here] = part.ids, part.labels
            if part.soft is not None:
                soft = torch.empty(n, part.soft.shape[1]) if soft is None else soft
                soft[here] = part.soft
            row = here.stop
            watch(Images(ids, images, labels, soft), row)
    return Images(ids, images, labels, soft, name=name if shares else None)


def _rows(table: Table, split: str | None) -> int:
    if not (n := table.rows(split)):
        raise InputError(f"{table.uri}: has no {split or ''} images.")
    return n


def _columns(table: Table) -> list[str]:
    return [name for name in ("id", "image", "label", "soft_label", "key") if name in table.manifest["schema"]]


def _read_encoded(table: Table, split: str | None, shape: tuple[int, int, int], streamed: bool | None) -> Images:
    _rows(table, split)
    on_disk, others = _streams(_encoded_bytes(table, split), streamed), []

    def files() -> Iterator[pa.ChunkedArray]:
        for block in table.blocks(split, _columns(table)):
            others.append(block.drop_columns("image"))
            yield encoded_files(block["image"])

    kept = encoded.stored(files(), on_disk)
    about = pa.concat_tables(others)
    ids = integers(about["id"])
    images: Any = encoded.Encoded(kept, ids, shape)
    return Images(ids, images, labels_of(about), soft_labels_of(about))


# --- where they lie ------------------------------------------------------------------------------------------------


def _have_room(table: Table, split: str | None, shape: tuple[int, int, int], streamed: bool | None) -> bool:
    """Whether decoded images have room, in memory or on disk."""
    c, h, w = shape
    whole = (table.rows(split), h, w, c)
    decoded = math.prod(whole)
    return not _streams(decoded, streamed) or buffers.fits_disk(_name_of(table, split, whole), decoded)


def _tell(table: Table, split: str | None, streamed: bool | None) -> None:
    size = _encoded_bytes(table, split)
    place = "in a file" if _streams(size, streamed) else "in memory"
    text = f"decoded they have no room: kept encoded {place}, {size_of(size)}, and decoded ahead of each step"
    say(f"images {split or ''}".rstrip(), text)


def _encoded_bytes(table: Table, split: str | None) -> int:
    return sum(part["bytes"] for part in table.manifest["parts"] if split is None or part.get("split") == split)


def _streams(size: int, streamed: bool | None) -> bool:
    """Whether so many bytes lie on disk, and not in memory."""
    return not room.fits_memory(size) if streamed is None else streamed


def _name_of(table: Table, split: str | None, shape: buffers.Shape) -> str:
    """The name of the buffer of a set. A stage that was deleted and made again in the same place is another set."""
    return hashlib.sha256(json.dumps([table.uri, split, shape, table.manifest], sort_keys=True).encode()).hexdigest()
