"""Rows that come in any order -> the parts they belong to, in bounded memory."""

import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

HELD = 1 << 29  # bytes of rows that wait in memory; more of them wait in a file
ITEM = np.dtype(np.float32).itemsize


class Filled(NamedTuple):
    """A part that has all its rows."""

    index: int
    values: Float32[np.ndarray, "rows d"]


Rows = tuple[Int64[np.ndarray, " m"], Float32[np.ndarray, "m d"]]  # their places in a part, and what is in them


class Scatter:
    """Puts rows of numbers at their places in parts; each part is given out when it has all its rows.

    Rows of parts that are not complete wait in memory, beyond `HELD` bytes in a file in the temporary folder, each at its place. Of
    rows that come in the order of the parts none go there; of shuffled ones all may, and the file grows to the size of all.

    Args:
        sizes: rows of each part.
        width: numbers of a row.
    """

    def __init__(self, sizes: Sequence[int], width: int, held: int | None = None) -> None:
        self.sizes, self.width, self.held = list(sizes), width, HELD if held is None else held
        self.ends = np.cumsum(np.asarray(sizes, dtype=np.int64))
        self.missing = list(sizes)
        self.waiting: dict[int, list[Rows]] = {}
        self.bytes: dict[int, int] = {}  # of these
        self.spilled: set[int] = set()
        self.file = tempfile.TemporaryFile(prefix="dsopt-")  # noqa: SIM115 (closed on leaving)

    def __enter__(self) -> "Scatter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()

    def add(self, places: Int64[np.ndarray, " m"], values: Float32[np.ndarray, "m d"]) -> Iterator[Filled]:
        """Take rows, no place twice over all calls; gives the parts that these complete.

        Args:
            places: of each row, counted over all parts.
        """
        parts = np.searchsorted(self.ends, places, side="right")
        order = np.argsort(parts, kind="stable")
        found, starts = np.unique(parts[order], return_index=True)
        for part, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            local = places[rows] - (self.ends[part] - self.sizes[part])
            self.waiting.setdefault(part, []).append((local, values[rows]))
            self.bytes[part] = self.bytes.get(part, 0) + len(rows) * self.width * ITEM
            self.missing[part] -= len(rows)
            if not self.missing[part]:
                yield Filled(part, self._taken(part))
        while sum(self.bytes.values()) > self.held:
            self._spill(max(self.bytes, key=self.bytes.__getitem__))

    def _place(self, part: int) -> np.memmap:
        """The rows of a part in the file."""
        first, row = int(self.ends[part]) - self.sizes[part], self.width * ITEM
        if not self.spilled:
            self.file.truncate(int(self.ends[-1]) * row)  # it takes room on the disk only where something is written
        return np.memmap(self.file, np.float32, "r+", first * row, (self.sizes[part], self.width))

    def _spill(self, part: int) -> None:
        place = self._place(part)
        self.spilled.add(part)
        for local, values in self._waiting(part):
            place[local] = values

    def _taken(self, part: int) -> Float32[np.ndarray, "rows d"]:
        values = np.array(self._place(part)) if part in self.spilled else np.empty((self.sizes[part], self.width), np.float32)
        for local, some in self._waiting(part):
            values[local] = some
        return values

    def _waiting(self, part: int) -> list[Rows]:
        del self.bytes[part]
        return self.waiting.pop(part)
