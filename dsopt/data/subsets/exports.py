"""Subsets in the layouts of other tools: image files in folders, also for FiftyOne, WebDataset's tar shards, Parquet files."""

import io
import json
import re
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from PIL import Image

from dsopt.data.subsets.fiftyone import write_documents
from dsopt.data.subsets.originals import places, read_originals, sizes
from dsopt.errors import InputError
from dsopt.files import (
    check_readable,
    check_writable,
    delete,
    exists,
    join,
    list_files,
    read_bytes,
    stat,
    write_bytes,
    write_table,
)
from dsopt.storage import IMAGE, with_image_feature

SHARD_BYTES = 256 << 20  # of a shard, as far as sizes are known before originals are read
SHARD_ROWS = 4096
WRITERS = 16  # files written at once
MARKER = ".export.json"  # in the output while it is not complete

NAME_BYTES = 160  # of a name: file systems take 255, and a number, a suffix and the mark of a file half written come to it

_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # with any suffix
_SUFFIX = re.compile(r"\.(jpe?g|jpe|jfif|png|webp|bmp|gif|tiff?|p[bgnp]m|apng|avif|dib|jif)$", re.IGNORECASE)
_SUFFIX_OF = {"JPEG": ".jpg", "TIFF": ".tif", "MPO": ".jpg"}

ABOUT = ("label", "label_name", "key", "id", "rank", "score", "reason", "soft_label")  # what is told of an image

Named = tuple[dict[str, Any], str, bytes]  # a row, the name of its file without suffix, its bytes


def export(
    rows: pa.Table, output: str, format: str, classes: list[str] | None, mark: dict[str, Any], done: Callable[[int], None]
) -> None:
    """Write rows with their images below a new folder; an interrupted export resumes, a finished one is never written over.

    Args:
        rows: as of `dsopt.data.subsets.subset.listed`.
        format: "folder", "fiftyone", "webdataset" or "parquet".
        mark: plain values that say what is exported; only the same is resumed.
        done: called with the number of rows written so far.

    Raises:
        InputError: the output has files already, or an original has changed or is gone.
    """
    with new_folder(output, mark):
        _export(rows, output, format, classes, mark["stage"].rpartition("/")[2], done)


def _export(rows: pa.Table, output: str, format: str, classes: list[str] | None, name: str, done: Callable[[int], None]) -> None:
    there = set(list_files(output))
    if format == "folder":
        _files(rows, _paths(rows), output, there, done)
    elif format == "fiftyone":
        paths = [f"data/{path}" for path in _paths(rows)]
        _files(rows, paths, output, there, done)
        written = {_SUFFIX.sub("", name): name for name in list_files(output)}
        write_documents(rows, [written[path] for path in paths], output, name, classes)
    else:
        _shards(rows, output, there, format, classes, done)


def complete(output: str) -> bool:
    """Whether an export into this folder is finished."""
    return not exists(join(output, MARKER)) and bool(list_files(output))


@contextmanager
def new_folder(output: str, mark: dict[str, Any]) -> Iterator[None]:
    """A folder that is new, empty, or holds a part of the same export; while it is not complete, a file in it says so.

    Raises:
        InputError: it holds something else, or cannot be written to.
    """
    marker, content = join(output, MARKER), json.dumps(mark).encode()
    _claim(output, marker, content)
    yield
    delete(marker)


def _claim(output: str, marker: str, content: bytes) -> None:
    check_readable(output, "output")
    if exists(marker):
        if read_bytes(marker) != content:
            raise InputError(f"output={output}: holds a part of another export; give a new folder.")
        return
    if exists(output) and (stat(output) or list_files(output)):
        raise InputError(f"output={output}: is not empty; give a new folder.")
    check_writable(output, "output")
    write_bytes(marker, content)


def _paths(rows: pa.Table) -> list[str]:
    """<label>/<key> without suffix; those without a label lie at the top."""
    folders = _folders(rows["label_name"].to_pylist())
    labelled = zip(rows["label_name"].to_pylist(), _names(rows), strict=True)
    return [f"{folders[label]}/{name}" if label else name for label, name in labelled]


def _files(rows: pa.Table, names: list[str], output: str, there: set[str], done: Callable[[int], None]) -> None:
    """A file for each image, of its name with its own suffix."""
    there = {_SUFFIX.sub("", name) for name in there}

    def write(one: Named) -> None:
        row, name, data = one
        write_bytes(join(output, name + suffix(row, data)), data)

    with ThreadPoolExecutor(WRITERS) as pool:
        for start, stop in _bounds(rows):
            left = [i for i in range(start, stop) if names[i] not in there]
            some = _read(rows.take(left), [names[i] for i in left])
            list(pool.map(write, some))
            done(stop)


def _shards(
    rows: pa.Table, output: str, there: set[str], format: str, classes: list[str] | None, done: Callable[[int], None]
) -> None:
    """Files of many rows each, whose bounds follow from the table alone."""
    # The reader of WebDataset takes all after the first dot as the suffix.
    bounds, names = list(_bounds(rows)), _names(rows, dot="_" if format == "webdataset" else ".")
    for number, (start, stop) in enumerate(bounds):
        name = f"data/train-{number:05d}-of-{len(bounds):05d}.parquet" if format == "parquet" else f"{number:06d}.tar"
        if name not in there:
            some = list(_read(rows.slice(start, stop - start), names[start:stop]))
            (_write_parquet if format == "parquet" else _write_tar)(join(output, name), some, rows.schema, classes)
        done(stop)


def _write_tar(uri: str, rows: list[Named], schema: pa.Schema, classes: list[str] | None) -> None:
    """A shard of WebDataset: for each row {name}.{suffix}, {name}.cls where it has a label, and {name}.json."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for row, name, data in rows:
            files = {suffix(row, data).lower(): data}
            if row["label"] is not None:
                files[".cls"] = str(row["label"]).encode()
            about = {key: row[key] for key in ABOUT if key in row and row[key] == row[key]}  # JSON has no NaN
            files[".json"] = json.dumps(about, ensure_ascii=False).encode()
            for kind, content in files.items():
                info = tarfile.TarInfo(name + kind)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    write_bytes(uri, sink.getbuffer())


def _write_parquet(uri: str, rows: list[Named], schema: pa.Schema, classes: list[str] | None) -> None:
    """A file as the hub has them: images, and labels that `datasets` shows by their names."""
    columns = [schema.field(name) for name in ABOUT if name in schema.names]
    content = [{"image": {"bytes": data, "path": name + suffix(row, data)}} | row for row, name, data in rows]
    table = pa.Table.from_pylist(content, pa.schema([("image", IMAGE), *columns]))
    write_table(uri, table.cast(with_image_feature(table.schema, classes)), compression="none", group_rows=100)


def suffix(row: dict[str, Any], data: bytes) -> str:
    """Of the file of an image: that of its key, or of what its bytes are."""
    kind = Image.open(io.BytesIO(data)).format or ""
    found, right = _SUFFIX.search(row["key"] or ""), _SUFFIX_OF.get(kind, f".{kind.lower()}")
    return found[0] if found and Image.registered_extensions().get(found[0].lower()) == kind else right


def _read(rows: pa.Table, names: list[str]) -> Iterator[Named]:
    return zip(rows.to_pylist(), names, read_originals(places(rows)), strict=True)


def _bounds(rows: pa.Table) -> Iterator[tuple[int, int]]:
    """Consecutive rows together, of about SHARD_BYTES."""
    start, size = 0, 0
    for i, one in enumerate(sizes(rows).to_pylist()):
        if i > start and (size + one > SHARD_BYTES or i - start == SHARD_ROWS):
            yield start, i
            start, size = i, 0
        size += one
    yield start, len(rows)


def _names(rows: pa.Table, dot: str = ".") -> list[str]:
    """A name for each row, from its key without suffix, safe on every file system and different from all others."""
    names = [safe(_SUFFIX.sub("", key or "image")).replace(".", dot) for key in rows["key"].to_pylist()]
    ids, counts = rows["id"].to_pylist(), Counter(name.casefold() for name in names)
    unique = [name if counts[name.casefold()] == 1 else f"{name}-{id}" for name, id in zip(names, ids, strict=True)]
    if len({name.casefold() for name in unique}) < len(unique):
        unique = [f"{name}-{id}" for name, id in zip(names, ids, strict=True)]
    return unique


def _folders(labels: Sequence[str | None]) -> dict[str, str]:
    """A folder for each class; classes whose names are alike once they are safe get a number."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for label in sorted({label for label in labels if label}):
        folder, number = safe(label), 2
        while folder.casefold() in taken:
            folder, number = f"{safe(label)}-{number}", number + 1
        folders[label] = folder
        taken.add(folder.casefold())
    return folders


def safe(name: str) -> str:
    """A name in letters, digits and _.+- alone, neither hidden nor long, and none that Windows keeps for its devices."""
    plain = re.sub(r"[^\w.+-]+", "_", unicodedata.normalize("NFC", name)).strip(".")  # macOS takes both forms as one name
    short = plain[-100:].encode()[-NAME_BYTES:].decode(errors="ignore").lstrip(".") or "_"
    return f"_{short}" if _DEVICE.match(short) else short
