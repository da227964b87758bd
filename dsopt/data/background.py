"""A set of images on its way into memory, of which a subset is there already."""

import math
import threading

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor

from dsopt.data import buffers
from dsopt.data.images import Images, load
from dsopt.errors import InputError
from dsopt.storage import Table

THREADS = 1  # that decode: training is to have the others


class Arriving:
    """A thread reads a set part by part, in order, while others already use what is there: no gap before training on everything.

    `images` and `labels` have the subset's rows, then those of the whole set, of which the first `rows()` are there; on the device.
    `load` gives the same set from then on.

    Args:
        subset: some of the same images; of other ones no row is ever known to have arrived.
        classes: how many; labels are probabilities where either set has soft labels.
        streamed: keep the images in a file on disk, not on the device; not given: if they are too many for that.

    Raises:
        JobError: no room on disk.
        InputError: the images of the two are not of one size. From `rows`, `wait` and `whole`: whatever ended the reading.
    """

    def __init__(
        self, uri: str, split: str, subset: Images, classes: int, device: torch.device, streamed: bool | None = None
    ) -> None:
        table, (c, h, w) = Table(uri), subset.images.shape[1:]
        self.uri, self.split, self.subset = table.uri, split, len(subset.ids)
        self.n = table.rows(split)
        self.soft = classes if subset.soft is not None or "soft_label" in table.manifest["schema"] else None
        shape = (self.subset + self.n, h, w, c)
        if streamed is None:
            streamed = not (buffers.fits_memory(math.prod(shape)) and buffers.fits_device(math.prod(shape), device))
        self.memory = buffers.private(shape) if streamed else torch.empty(shape, dtype=torch.uint8, device=device)
        self.images = self.memory.permute(0, 3, 1, 2)
        self.images[: self.subset] = subset.images.to(self.memory.device)
        labels = _labels(subset, self.soft)
        self.labels = torch.empty(self.subset + self.n, *labels.shape[1:], dtype=labels.dtype, device=device)
        self.labels[: self.subset] = labels.to(device)
        # Where in the whole set each image of the subset lies; n: not come yet.
        self.row_of = torch.full((self.subset,), self.n)
        self._ids, self._order = subset.ids.sort()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._rows, self._whole, self._error, self._changed = 0, None, None, threading.Condition()
        self._closed, self._thread = False, threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the reading after the part that it is at: a thread that still decodes when Python ends would end it with a crash."""
        self._closed = True
        self._thread.join()

    def rows(self) -> int:
        """How many rows of the whole set are there."""
        with self._changed:
            if self._error:
                raise self._error
            return self._rows

    def wait(self, rows: int) -> None:
        """Until so many rows of the whole set are there."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._rows >= rows)
        self.rows()

    def whole(self) -> Images:
        """The whole set, on the device, once it is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._whole)
        self.rows()
        assert self._whole is not None
        labels = self.labels[self.subset :]
        soft = None if self.soft is None else labels
        return Images(self._whole.ids, self.images[self.subset :], labels if soft is None else self._whole.labels, soft)

    def _read(self) -> None:
        # Where it is for the processor, it is read in place, and kept there for `load`.
        memory = self.memory[self.subset :] if self.memory.device.type == "cpu" else None
        whole, error = None, None
        try:
            whole = load(self.uri, self.split, self._take, THREADS, memory)
        except BaseException as found:
            error = found
        with self._changed:
            self._whole, self._error = whole, error
            self._changed.notify_all()

    def _take(self, whole: Images, there: int) -> None:
        """Rows have come: put them on the device, see which of the subset's images are among them, and tell."""
        if whole.images.shape[1:] != self.images.shape[1:]:
            sizes = f"{tuple(self.images.shape[1:])}, and of the full set {tuple(whole.images.shape[1:])}"
            raise InputError(f"train: images of the subset are {sizes}; to overlap they must be alike.")
        if self._closed:
            raise EOFError("closed")
        new = slice(self._rows, there)
        part = Images(whole.ids[new], whole.images[new], whole.labels[new], None if whole.soft is None else whole.soft[new])
        here = slice(self.subset + new.start, self.subset + there)
        if part.images.data_ptr() != self.images[here].data_ptr():
            self._move(part.images, self.images[here])
        self._move(_labels(part, self.soft), self.labels[here])
        if self.subset:
            at = torch.searchsorted(self._ids, part.ids).clamp(max=self.subset - 1)
            known = self._ids[at] == part.ids
            self.row_of[self._order[at[known]]] = torch.arange(new.start, there)[known]
        with self._changed:
            self._rows = there
            self._changed.notify_all()

    def _move(self, source: Tensor, target: Tensor) -> None:
        """Copy to the device beside what it computes: from pinned memory, on a stream of its own."""
        if self._stream is None:
            target.copy_(source)
            return
        with torch.cuda.stream(self._stream):
            target.copy_(source.pin_memory(), non_blocking=True)
            self._stream.synchronize()


def _labels(images: Images, classes: int | None) -> Int64[Tensor, " n"] | Float32[Tensor, "n k"]:
    """Probabilities of so many classes, if any; else numbers."""
    if classes is None:
        return images.labels
    return F.one_hot(images.labels, classes).float() if images.soft is None else images.soft
