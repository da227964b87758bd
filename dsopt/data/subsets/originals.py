"""The bytes of originals, wherever they lie: whole files, byte ranges of shards, rows of Parquet files; local, S3 or by fsspec."""

import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsopt.data.subsets import remote
from dsopt.data.subsets.parquet_rows import read_rows
from dsopt.errors import InputError, JobError
from dsopt.files import first_line
from dsopt.storage import content_digest

MEMORY = 64 << 20  # bytes of originals that are read ahead
AT_ONCE = 3  # windows of originals in memory: one is given out while the others are read
MOST = 4096  # originals of a window
UNKNOWN_SIZE = 1 << 20
THREADS = 16  # local files read at once, which hides the latency of a disk and of network folders
WASTE = 8  # ranges are read as one while what lies between them is less than 1/WASTE of what is wanted
SPAN_BYTES = 8 << 20  # of ranges that are read as one


class Original(NamedTuple):
    """Where an image lies, as in the columns of `dsopt.storage.ORIGIN`.

    Args:
        key: human-readable name, for errors.
        size: its bytes, as far as they are known: of a whole file or a row about its number of pixels.
    """

    key: str
    uri: str
    offset: int | None
    length: int | None
    row: int | None
    digest: str | None
    size: int


class Span(NamedTuple):
    """Bytes of a file that are read at once, of the originals `members` (positions in a list); `start` None: the whole file."""

    uri: str
    start: int | None
    stop: int | None
    members: list[int]


def places(rows: pa.Table) -> list[Original]:
    """The originals of rows with the columns key and `dsopt.storage.ORIGIN`."""
    columns = [rows[name].to_pylist() for name in ("key", "uri", "offset", "length", "row", "digest")]
    return [Original(*values) for values in zip(*columns, sizes(rows).to_pylist(), strict=True)]


def sizes(rows: pa.Table) -> pa.ChunkedArray:
    """The bytes of each original, as far as they are known."""
    pixels = pc.multiply(rows["width"].cast(pa.int64()), rows["height"].cast(pa.int64()))  # pyright: ignore[reportAttributeAccessIssue]
    return pc.coalesce(rows["length"], pixels, pa.scalar(UNKNOWN_SIZE, pa.int64()))  # pyright: ignore[reportAttributeAccessIssue]


def read_originals(wanted: Iterable[Original], memory: int = MEMORY) -> Iterator[bytes]:
    """The bytes of each original, in the order given; those that follow are read in the background.

    Args:
        memory: about how many bytes are in memory at once; one original may be larger.

    Raises:
        InputError: an original is no longer there, or its digest is not that of ingest; the message names its key.
        JobError: it cannot be read.
    """
    with ThreadPoolExecutor(AT_ONCE - 1) as pool:
        pending: deque[Future[list[bytes]]] = deque()
        try:
            for window in windows(wanted, memory // AT_ONCE):
                pending.append(pool.submit(read, window))
                if len(pending) == AT_ONCE - 1:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def windows(wanted: Iterable[Original], most_bytes: int) -> Iterator[list[Original]]:
    """Consecutive originals together, of about so many bytes at most."""
    window, size = [], 0
    for original in wanted:
        if window and (size + original.size > most_bytes or len(window) == MOST):
            yield window
            window, size = [], 0
        window.append(original)
        size += original.size
    if window:
        yield window


def read(wanted: list[Original]) -> list[bytes]:
    """The bytes of some originals, all at once; see `read_originals`."""
    found: list[bytes | None] = [None] * len(wanted)
    rows: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, original in enumerate(wanted):
        if original.row is not None:
            rows[original.uri][original.row].append(i)
    spans = _spans(wanted)
    local = [span for span in spans if not remote.is_remote(span.uri)]
    others = [span for span in spans if remote.is_remote(span.uri)]
    with ThreadPoolExecutor(max(1, min(THREADS, len(local) + len(rows)))) as pool:
        from_rows = [(by_row, pool.submit(_rows, uri, by_row, wanted)) for uri, by_row in rows.items()]
        share = -(-len(local) // THREADS) or 1
        from_files = [pool.submit(_local, local[i : i + share], wanted, found) for i in range(0, len(local), share)]
        for span, data in zip(others, remote.read_ranges([span[:3] for span in others]), strict=True):
            if isinstance(data, Exception):
                raise _unreadable(wanted[span.members[0]], data) from None
            _cut(span, data, wanted, found)
        for future in from_files:
            future.result()
        for by_row, future in from_rows:
            for row, data in future.result().items():
                for i in by_row[row]:
                    found[i] = data
    return [_checked(original, data) for original, data in zip(wanted, found, strict=True)]


def _spans(wanted: list[Original]) -> list[Span]:
    """What is read of files: near ranges as one, such as neighbours in a tar, as long as nearly all of it is wanted."""
    ranges = sorted((original.uri, original.offset or 0, i) for i, original in enumerate(wanted) if original.row is None)
    spans: list[Span] = []
    useful = 0
    for uri, start, i in ranges:
        length = wanted[i].length
        if length is None:
            spans.append(Span(uri, None, None, [i]))
            continue
        last = spans[-1] if spans else None
        if last and last.uri == uri and last.stop is not None and last.start is not None:
            stop = max(last.stop, start + length)
            useful += max(0, stop - max(start, last.stop))
            if (stop - last.start - useful) * WASTE <= useful and stop - last.start <= max(SPAN_BYTES, length):
                spans[-1] = Span(uri, last.start, stop, [*last.members, i])
                continue
        spans.append(Span(uri, start, start + length, [i]))
        useful = length
    return spans


def _cut(span: Span, data: bytes, wanted: list[Original], found: list[bytes | None]) -> None:
    for i in span.members:
        start = (wanted[i].offset or 0) - (span.start or 0)
        length = wanted[i].length
        found[i] = data if length is None or length == len(data) else data[start : start + length]


def _local(spans: list[Span], wanted: list[Original], found: list[bytes | None]) -> None:
    """Read spans of local files; those of one file follow each other, and it is opened once."""
    name, file = "", -1
    try:
        for span in spans:
            try:
                if span.uri != name:
                    opened = os.open(span.uri, os.O_RDONLY)
                    if file >= 0:
                        os.close(file)
                    name, file = span.uri, opened
                start = span.start or 0
                stop = os.fstat(file).st_size if span.stop is None else span.stop
                _cut(span, _pread(file, start, stop), wanted, found)
            except OSError as error:
                raise _unreadable(wanted[span.members[0]], error) from None
    finally:
        if file >= 0:
            os.close(file)


def _pread(file: int, start: int, stop: int) -> bytes:
    pieces = []
    while start < stop and (piece := os.pread(file, stop - start, start)):  # one call gives at most 2 GiB
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _rows(uri: str, by_row: dict[int, list[int]], wanted: list[Original]) -> dict[int, bytes]:
    try:
        return read_rows(uri, {row: wanted[members[0]].digest for row, members in by_row.items()})
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(wanted[next(iter(by_row.values()))[0]], error) from None


def _unreadable(original: Original, error: Exception) -> InputError | JobError:
    if isinstance(error, pa.ArrowInvalid):  # no Parquet file, or one with fewer rows
        return _changed(original)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return InputError(f"{original.key}: its original is no longer at {original.uri}.")
    return JobError(f"{original.key}: {original.uri} cannot be read: {first_line(error)}")


def _checked(original: Original, data: bytes | None) -> bytes:
    if data is None or (original.digest is not None and content_digest(data) != original.digest):
        raise _changed(original)
    return data


def _changed(original: Original) -> InputError:
    return InputError(f"{original.key}: {original.uri} has changed since it was ingested; ingest it anew.")
