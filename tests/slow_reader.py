"""A table of digits in parts, and a reader that waits at every part until a test lets it go on."""

import io
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from digits import digits
from PIL import Image

from dsopt import storage
from dsopt.data import images, loading
from dsopt.files import write_table

ROWS = 8  # a part
DECODE = images.decode


def digits_stage(folder: Path, parts: int) -> str:
    """A finished stage with the first digits: parts of 8, ids that are not positions."""
    pixels, labels = digits()
    made, listed = storage.Stage(str(folder), storage.Kind("ingest"), "toy", {"parts": parts}), []
    for part in range(parts):
        rows = []
        for i in range(part * ROWS, (part + 1) * ROWS):
            sink = io.BytesIO()
            Image.fromarray(pixels[i, 0].numpy()).save(sink, "PNG")
            rows.append({"id": 100 + 3 * i, "image": {"bytes": sink.getvalue(), "path": None}, "label": int(labels[i]), "key": ""})
        path = f"data/train-{part}.parquet"
        size = write_table(made.path(path), pa.Table.from_pylist(rows, schema=storage.IMAGES))
        listed.append({"path": path, "rows": ROWS, "bytes": size, "split": "train"})
    made.commit(listed, storage.IMAGES, seconds=0.0, num_classes=10, channels=1, labelled=True, classes=None, image_size=32)
    return made.uri


class Gate:
    """Stands for `decode`, and waits before each part until it is opened once more."""

    def __init__(self) -> None:
        self.opened, self.decoded, self.error = threading.Semaphore(0), 0, None

    def open(self, parts: int = 1) -> None:
        self.opened.release(parts)

    def fail(self, error: Exception) -> None:
        self.error = error
        self.opened.release()

    def __call__(self, table: pa.Table, threads: int | None = None, *, size: int | None = None) -> images.Images:
        assert self.opened.acquire(timeout=30), "nobody opened the gate"
        if self.error:
            raise self.error
        self.decoded += 1
        return DECODE(table, threads, size=size)


def shut(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """From now on, no part is decoded before the gate is opened for it; nothing decoded before is kept."""
    loading._kept.cache_clear()
    gate = Gate()
    monkeypatch.setattr(loading, "decode", gate)
    return gate
