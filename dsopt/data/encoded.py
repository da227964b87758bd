"""Images that stay encoded, in memory or in a file on local disk, and are decoded ahead of the step that trains on them."""

import errno
import os
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from dsopt.data import decoding
from dsopt.errors import InputError, JobError, first_line

AHEAD = 2  # batches that are decoded, or being decoded, while a step trains on another one
CHUNK = 8  # images that a decoding thread takes at a time
FILES = pa.schema([("bytes", pa.large_binary())])


class Encoded:
    """Encoded images of one size, in place of a tensor [n, c, h, w]: batches of them are decoded when they are taken.

    Args:
        files: the encoded images.
        ids: of the images, for errors.
        each: channels, height and width of every image.
        rows: which of the files are the images, in their order; None: all.
        threads: that decode; by default as many as torch uses.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        files: pa.ChunkedArray,
        ids: Int64[Tensor, " n"],
        each: tuple[int, int, int],
        rows: Int64[Tensor, " n"] | None = None,
        threads: int | None = None,
    ) -> None:
        self.files, self.ids, self.each = files, ids, each
        self.where = torch.arange(len(files)) if rows is None else rows
        self._pool = ThreadPoolExecutor(threads or torch.get_num_threads())
        self._ahead: dict[bytes, _Batch] = {}
        self._pinned = torch.cuda.is_available()  # so that a copy to the device does not wait for its kernels

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.each))

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, part: slice) -> UInt8[Tensor, "b c h w"]:
        """Images in a row; the next as many are decoded meanwhile."""
        start, stop, _ = part.indices(len(self))
        return self.take(torch.arange(start, stop), [torch.arange(stop, min(2 * stop - start, len(self)))])

    def take(self, indices: Int64[Tensor, " b"], following: Sequence[Int64[Tensor, " _"]] = ()) -> UInt8[Tensor, "b c h w"]:
        """Images by index, with channels-last memory.

        Args:
            following: the indices of the next batches, which threads begin to decode.

        Raises:
            InputError: one of the images cannot be decoded, or has another shape.
        """
        before, self._ahead = self._ahead, {}
        wanted = before.pop(_key(indices), None) or self._begin(indices)
        for later in following:
            self._ahead[_key(later)] = before.pop(_key(later), None) or self._begin(later)
        for batch in before.values():  # another sequence of batches has begun
            batch.cancel()
        return wanted.decoded()

    def rows(self, chosen: Int64[Tensor, " k"]) -> "Encoded":
        """Some of the images; their files are not copied."""
        return Encoded(self.files, self.ids[chosen], self.each, self.where[chosen])

    def joined(self, others: "Encoded") -> "Encoded":
        """These images and others, of the same size."""
        files = pa.chunked_array([*self.files.chunks, *others.files.chunks], type=FILES.field("bytes").type)
        where = torch.cat([self.where, len(self.files) + others.where])
        return Encoded(files, torch.cat([self.ids, others.ids]), self.each, where)

    def _begin(self, indices: Int64[Tensor, " b"]) -> "_Batch":
        c, h, w = self.each
        with torch.inference_mode(False):  # other threads fill it, and they are in no mode of the caller's
            images = torch.empty(len(indices), h, w, c, dtype=torch.uint8, pin_memory=self._pinned).permute(0, 3, 1, 2)
        chunks = zip(images.split(CHUNK), indices.split(CHUNK), strict=True) if len(indices) else ()
        return _Batch(images, [self._pool.submit(self._decode, *chunk) for chunk in chunks])

    def _decode(self, images: UInt8[Tensor, "b c h w"], indices: Int64[Tensor, " b"]) -> None:
        side = self.each[1] if self.each[1] == self.each[2] else None
        for image, id, row in zip(images, self.ids[indices].tolist(), self.where[indices].tolist(), strict=True):
            file = decoding.as_tensor(self.files[row].as_py())
            try:
                found = decoding.decoded(file) if side is None else decoding.decoded_at(file, side)
            except (RuntimeError, OSError) as error:
                raise InputError(f"image {id} cannot be decoded: {first_line(error)}") from None
            if found.shape != image.shape:
                raise InputError(f"image {id} has shape {tuple(found.shape)}, expected {self.each}; all must be alike.")
            image.copy_(found)


class _Batch(NamedTuple):
    """A batch that threads decode."""

    images: UInt8[Tensor, "b c h w"]
    parts: list[Future[None]]

    def decoded(self) -> UInt8[Tensor, "b c h w"]:
        for part in self.parts:
            part.result()
        return self.images

    def cancel(self) -> None:
        for part in self.parts:
            part.cancel()


def _key(indices: Int64[Tensor, " b"]) -> bytes:
    return indices.numpy().tobytes()


def stored(files: Iterable[pa.ChunkedArray], on_disk: bool) -> pa.ChunkedArray:
    """Encoded images of all parts as one column: in memory, or in a file of this process that the system frees when it ends.

    Args:
        files: of each part.

    Raises:
        JobError: no space left on disk.
    """
    kind = FILES.field("bytes").type
    if not on_disk:
        return pa.chunked_array([chunk for part in files for chunk in part.cast(kind).chunks], type=kind)
    handle, path = tempfile.mkstemp(prefix="dsopt-")
    os.close(handle)
    try:
        with pa.ipc.new_file(path, FILES) as sink:
            for part in files:
                sink.write_table(pa.table([part.cast(kind)], schema=FILES))
        return pa.ipc.open_file(pa.memory_map(path)).read_all()["bytes"]
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise JobError(f"no space for encoded images in {tempfile.gettempdir()}; set TMPDIR to another folder.") from None
    finally:
        os.unlink(path)  # the mapping stays valid, and the space is freed with it
