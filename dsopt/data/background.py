"""Loading a data set in a background thread while training already runs on a subset of it."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from dsopt.data import buffers, room
from dsopt.data.images import Images
from dsopt.data.loading import load
from dsopt.errors import InputError
from dsopt.storage import Table

THREADS = 1  # for decoding; training keeps the other cores


class BackgroundLoader:
    """Loads the full set part by part in a thread, while training uses the rows that are loaded: there is no pause in between.

    `images` and `labels` are on the device. They hold the subset's rows first, then those of the full set, of which the first
    `rows()` are loaded. The set is read anew even if it is cached, so that every run sees it arrive. Once everything is loaded,
    `load` returns the same set from its cache.

    Args:
        subset: some images of the full set; an image that is not in the full set keeps `row_of == n`.
        classes: number of classes; labels are probabilities if either set has soft labels.
        streamed: keep the images in a file on disk instead of on the device; None: only if they do not fit.
        size: as of `load`, with which the subset was loaded.

    Attributes:
        subset: number of rows of the subset.
        n: number of rows of the full set.
        row_of: int64 [subset], the row of the full set that holds the same image; n while it is not loaded.

    Raises:
        JobError: no space left on disk.
        InputError: the two sets differ in image size. `rows`, `wait` and `whole` raise the error that stopped the thread.
    """

    def __init__(
        self,
        uri: str,
        split: str,
        subset: Images,
        classes: int,
        device: torch.device,
        streamed: bool | None = None,
        size: int | None = None,
    ) -> None:
        table, (c, h, w) = Table(uri), subset.images.shape[1:]
        self.uri, self.split, self.size, self.subset = table.uri, split, size, len(subset.ids)
        self.n = table.rows(split)
        self.soft = classes if subset.soft is not None or "soft_label" in table.manifest["schema"] else None
        shape = (self.subset + self.n, h, w, c)
        if streamed is None:
            streamed = not (room.fits_memory(math.prod(shape)) and room.fits_device(math.prod(shape), device))
        self.memory = buffers.private(shape) if streamed else torch.empty(shape, dtype=torch.uint8, device=device)
        self.images = self.memory.permute(0, 3, 1, 2)
        self.images[: self.subset] = subset.images.to(self.memory.device)
        labels = _labels(subset, self.soft)
        self.labels = torch.empty(self.subset + self.n, *labels.shape[1:], dtype=labels.dtype, device=device)
        self.labels[: self.subset] = labels.to(device)
        self.row_of = torch.full((self.subset,), self.n)
        self._ids, self._order = subset.ids.sort()
        self._stream = _side_stream(device) if device.type == "cuda" else None
        self._rows, self._whole, self._error, self._changed = 0, None, None, threading.Condition()
        self._arrived: list[tuple[float, int]] = [(0.0, 0)]  # moments, and the rows that were loaded then
        self._paused = 0.0
        self._closed, self._thread = False, threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the current part. A thread that still decodes while the interpreter shuts down would crash the process."""
        self._closed = True
        self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count, of an evaluation say: what is loaded meanwhile arrives as much later."""
        started = time.perf_counter()
        yield
        self._paused += time.perf_counter() - started

    def rows(self) -> int:
        """The number of rows of the full set that are loaded."""
        with self._changed:
            if self._error:
                raise self._error
            now = time.perf_counter() - self._paused
            return max(rows for at, rows in self._arrived if at <= now)

    def wait(self, rows: int) -> None:
        """Block until `rows` rows of the full set are loaded."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._rows >= rows)
        self.rows()

    def whole(self) -> Images:
        """Block until the full set is loaded; return it, on the device."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._whole)
        self.rows()
        time.sleep(max(0.0, self._arrived[-1][0] + self._paused - time.perf_counter()))
        assert self._whole is not None
        labels = self.labels[self.subset :]
        soft = None if self.soft is None else labels
        return Images(self._whole.ids, self.images[self.subset :], labels if soft is None else self._whole.labels, soft)

    def _read(self) -> None:
        # On a CPU the images are decoded in place, and `load` caches this same memory.
        memory = self.memory[self.subset :] if self.memory.device.type == "cpu" else None
        whole, error = None, None
        try:
            whole = load(self.uri, self.split, self._take, THREADS, memory, size=self.size, anew=True)
        except BaseException as raised:  # handed to the training thread, which must not wait for ever
            error = raised
        with self._changed:
            self._whole, self._error = whole, error
            self._changed.notify_all()

    def _take(self, whole: Images, loaded: int) -> None:
        """Called by `load` after every part: copy the new rows to the device, update `row_of`, and wake the waiting threads."""
        if whole.images.shape[1:] != self.images.shape[1:]:
            sizes = f"{tuple(self.images.shape[1:])}, images of the full set {tuple(whole.images.shape[1:])}"
            raise InputError(f"train: images of the subset have shape {sizes}; to overlap they must be alike.")
        if self._closed:
            raise EOFError("closed")
        new = slice(self._rows, loaded)
        part = Images(whole.ids[new], whole.images[new], whole.labels[new], None if whole.soft is None else whole.soft[new])
        here = slice(self.subset + new.start, self.subset + loaded)
        if part.images.data_ptr() != self.images[here].data_ptr():  # else they were decoded in place
            self._move(part.images, self.images[here])
        self._move(_labels(part, self.soft), self.labels[here])
        if self.subset:
            at = torch.searchsorted(self._ids, part.ids).clamp(max=self.subset - 1)
            known = self._ids[at] == part.ids
            self.row_of[self._order[at[known]]] = torch.arange(new.start, loaded)[known]
        with self._changed:
            self._rows = loaded
            self._arrived.append((time.perf_counter(), loaded))
            self._changed.notify_all()

    def _move(self, source: Tensor, target: Tensor) -> None:
        """Copy to the device while it computes: from pinned memory, on a separate CUDA stream."""
        if self._stream is None:
            target.copy_(source)
            return
        with torch.cuda.stream(self._stream):
            target.copy_(source.pin_memory(), non_blocking=True)
            self._stream.synchronize()


def _side_stream(device: torch.device) -> Any:
    """A stream for copies into memory that was allocated before.

    It begins where the current stream is now: the allocator may give memory that earlier kernels of that stream still use, which is
    safe for that stream alone.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return stream


def _labels(images: Images, classes: int | None) -> Int64[Tensor, " n"] | Float32[Tensor, "n k"]:
    """Probabilities [n, classes] if `classes` is given, else class numbers [n]."""
    if classes is None:
        return images.labels
    return F.one_hot(images.labels, classes).float() if images.soft is None else images.soft
