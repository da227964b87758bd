"""Files by URI, on local disk and on object stores, which have no rename and no locks. Schemes: see `dsopt.schemes`.

Every write is atomic: on S3 an object appears only when it is complete; on local disk a hidden temporary file is renamed. Functions
retry while an object store is unreachable.
"""

import contextlib
import functools
import io
import logging
import os
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pf
import pyarrow.parquet as pq

from dsopt import schemes
from dsopt.errors import InputError, first_line

RETRY_SECONDS = 120.0  # how long calls are retried while an object store is unreachable; outages of 40 s occur in practice

T = TypeVar("T")

# Error codes of pyarrow's S3 client that are final, so a retry would not help. Codes that the client does not know have an HTTP
# status instead: 3xx and 4xx are final, except 408 (request timeout) and 429 (too many requests).
_FINAL_S3_ERRORS = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|NO_SUCH_KEY|SIGNATURE_DOES_NOT_MATCH|REQUEST_TIME_TOO_SKEWED|UNRECOGNIZED_CLIENT"
    r"|(INVALID|MISSING)_\w+|UNKNOWN \(HTTP status (3\d\d|4(?!08|29)\d\d)\)"
)


def is_remote(uri: str) -> bool:
    """Whether a URI is on an object store or a server."""
    return schemes.scheme(uri) not in (None, "file")


def absolute(uri: str) -> str:
    """The URI without a trailing slash; local paths become absolute, so that they mean the same in every process.

    Raises:
        InputError: it is neither a local path nor of a known scheme, has no bucket, or contains credentials or settings.
    """
    found = re.match(r"\w[\w+.-]*:/", uri)
    if not found or uri.startswith("file://"):
        return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))
    rest = uri[found.end() :].removeprefix("/")
    schemes.check(uri, rest)
    if not uri.startswith("s3://"):
        return uri.rstrip("/")
    if not rest.partition("/")[0]:
        raise InputError(f"{uri}: there is no bucket; expected s3://bucket/prefix.")
    return "s3://" + re.sub("//+", "/", rest).rstrip("/")  # pyarrow refuses s3://bucket//prefix


def join(uri: str, *names: str) -> str:
    """The URI of a file below another URI."""
    return "/".join([uri.rstrip("/"), *names])


def filesystem(uri: str) -> tuple[pf.FileSystem, str]:
    """The pyarrow file system of a URI, and the path in it. S3 reads endpoint, region and keys from the environment."""
    uri = absolute(uri)
    if not is_remote(uri):
        return pf.LocalFileSystem(), uri
    if not uri.startswith("s3://"):
        system, path = schemes.system(uri)
        return pf.PyFileSystem(pf.FSSpecHandler(system)), path
    path = uri.removeprefix("s3://")
    return _remote(path.partition("/")[0]), path


@functools.cache
def _remote(bucket: str) -> pf.FileSystem:
    schemes.check_endpoint()
    try:
        return pf.FileSystem.from_uri(f"s3://{bucket}")[0]
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and transient(error):  # from_uri asks the store for the bucket's region
            raise
        raise InputError(f"s3://{bucket}: {first_line(error)}") from None


def transient(error: OSError) -> bool:
    """Whether a retry may succeed: the object store is unreachable, still starting, or overloaded."""
    code = re.search(r"AWS Error (.*)", str(error))
    return code is not None and not _FINAL_S3_ERRORS.match(code[1])


def retried(function: Callable[..., T], seconds: float | None = None) -> Callable[..., T]:
    """Retry a function, with growing pauses, while an object store is unreachable; other errors are raised at once.

    Args:
        seconds: how long to retry, by default RETRY_SECONDS; one call by itself retries for about 6 s, in pyarrow.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        deadline, pause = time.monotonic() + (RETRY_SECONDS if seconds is None else seconds), 0.5
        while True:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                if not transient(error) or time.monotonic() + pause > deadline:
                    raise
                logging.getLogger(__name__).warning("storage is unreachable, retrying: %s", first_line(error))
            time.sleep(pause)
            pause = min(2 * pause, 8.0)

    return call


@retried
def exists(uri: str) -> bool:
    """Whether there is a file or folder."""
    return _exists_once(uri)


def _exists_once(uri: str) -> bool:
    system, path = filesystem(uri)
    return system.get_file_info(path).type != pf.FileType.NotFound


@retried
def stat(uri: str) -> tuple[int, int] | None:
    """A file's size in bytes and modification time in nanoseconds; None if it does not exist."""
    system, path = filesystem(uri)
    info = system.get_file_info(path)
    return (info.size, info.mtime_ns or 0) if info.type == pf.FileType.File else None


@retried
def missing(uris: list[str]) -> list[str]:
    """Those of the files that do not exist; all must be on the same file system."""
    if not uris:
        return []
    found = filesystem(uris[0])[0].get_file_info([filesystem(uri)[1] for uri in uris])
    return [uri for uri, info in zip(uris, found, strict=True) if info.type == pf.FileType.NotFound]


@retried
def read_bytes(uri: str) -> bytes:
    """The content of a small file. Raises FileNotFoundError."""
    if schemes.scheme(uri) in schemes.PACKAGES:
        other, path = schemes.system(absolute(uri))
        return other.cat_file(path)
    system, path = filesystem(uri)
    while True:
        with system.open_input_file(path) as file:  # one request for the whole file; an input stream would read 256 KiB at a time
            data = file.read()
        # The size is asked for when the file is opened; if the file is replaced in between, the data may be cut off: read it again.
        if system.get_file_info(path).size == len(data):
            return data


@retried
def read_range(uri: str, offset: int, length: int) -> bytes:
    """At most `length` bytes of a file from `offset`. Raises FileNotFoundError."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return file.read_at(length, offset)


@retried
def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write a file atomically: it exists completely or not at all."""
    _write_once(uri, data)


def _write_once(uri: str, data: bytes | memoryview) -> None:
    if schemes.by_fsspec(absolute(uri)):
        raise InputError(f"{uri}: files are written to a folder or to s3:// only.")
    system, path = filesystem(uri)
    if is_remote(uri):
        with system.open_output_stream(path) as stream:
            stream.write(data)
        return
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name[:50]}.{uuid.uuid4().hex}")  # a name may be as long as the system takes
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # before the rename: else a crash of the machine could leave an empty file of that name
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


@retried
def delete(uri: str) -> None:
    """Delete a file, if it exists."""
    system, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(path)


@retried
def list_files(uri: str) -> dict[str, int]:
    """The files below a folder, relative to it, with their sizes in bytes; without hidden files; empty if it does not exist."""
    system, path = filesystem(uri)
    found = system.get_file_info(pf.FileSelector(path, recursive=True, allow_not_found=True))
    files = {info.path[len(path) :].lstrip("/"): info.size for info in found if info.type == pf.FileType.File}
    return {name: size for name, size in sorted(files.items()) if not os.path.basename(name).startswith(".")}


@retried
def copy_folder(source: str, target: str) -> None:
    """Copy all files below a folder; they are streamed, however large."""
    (here, path), (there, place) = filesystem(source), filesystem(target)
    there.create_dir(place)
    pf.copy_files(path, place, source_filesystem=here, destination_filesystem=there)


@retried
def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file; columns have the types with which they were written, tensors included."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return pq.read_table(file, columns=columns)


def write_table(uri: str, table: pa.Table, *, compression: str = "zstd", group_rows: int | None = None) -> int:
    """Write a Parquet file atomically; return its size in bytes. The same table always gives the same file.

    Args:
        group_rows: rows of a row group, the least that a reader can read; by default as many as pyarrow takes.
    """
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=compression, row_group_size=group_rows)
    write_bytes(uri, sink.getbuffer())
    return sink.tell()


@retried
def row_count(uri: str) -> int:
    """The number of rows of a Parquet file, from its footer."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return pq.read_metadata(file).num_rows


def check_readable(uri: str, key: str = "storage") -> None:
    """Check that an object store that is to be written to answers and permits reading; the URI itself need not exist.

    Args:
        key: what the user gave it as.

    Raises:
        InputError: a wrong address, wrong keys, no permission, or a place of a kind that nothing can be written to.
    """
    if schemes.scheme(uri) in schemes.PACKAGES:
        raise InputError(f"{key}={uri}: expected a folder or s3://bucket/prefix; other places can be read from, not written to.")
    try:
        retried(_exists_once, seconds=5.0)(uri)  # not RETRY_SECONDS: a user waits for the answer
    except OSError as error:
        raise InputError(f"{key}={uri}: cannot be read: {first_line(error)}") from None


def check_writable(uri: str, key: str = "storage") -> None:
    """Check that files can be written below a URI.

    Args:
        key: what the user gave it as.

    Raises:
        InputError: no permission, no such bucket, a file in place of the folder, or the store does not answer.
    """
    probe = join(uri, f".probe-{uuid.uuid4().hex}")
    try:
        retried(_write_once, seconds=5.0)(probe, b"dsopt")  # not RETRY_SECONDS: a user waits for the answer
        delete(probe)
    except OSError as error:
        raise InputError(f"{key}={uri}: cannot be written: {first_line(error)}") from None
