"""Files by URI, on local disk and on object stores, which have no rename and no locks.

Every write is atomic: on S3 an object appears whole, on local disk a hidden temporary file is renamed. An object store that is
away is waited for.
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

from dsopt.errors import InputError

RETRY_SECONDS = 120.0  # how long an unreachable object store is waited for; outages of 40 s were seen in practice

T = TypeVar("T")

# The codes of pyarrow's S3 client for faults that no waiting mends; those not known to it come with their HTTP status.
_FINAL_S3_ERRORS = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|NO_SUCH_KEY|SIGNATURE_DOES_NOT_MATCH|REQUEST_TIME_TOO_SKEWED|UNRECOGNIZED_CLIENT"
    r"|(INVALID|MISSING)_\w+|UNKNOWN \(HTTP status (3\d\d|4(?!08|29)\d\d)\)"
)


def is_remote(uri: str) -> bool:
    return uri.startswith("s3://")


def absolute(uri: str) -> str:
    """The URI without a trailing slash; local paths made absolute, so that they mean the same in every process."""
    scheme = re.match(r"\w[\w+.-]*:/", uri)
    if not scheme or uri.startswith("file://"):
        return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))
    rest = uri[scheme.end() :].removeprefix("/")
    authority = rest.partition("/")[0]
    if "@" in authority or "?" in rest or (":" in authority and "@" in rest):  # a secret may contain a slash
        raise InputError("storage URI: credentials and settings do not belong into it; use AWS_ACCESS_KEY_ID and the like.")
    if not is_remote(uri):  # at once: pyarrow looks for credentials of others for minutes
        raise InputError(f"{uri}: is neither s3:// nor a folder; right is s3://bucket/prefix or a folder.")
    if not authority:
        raise InputError(f"{uri}: there is no bucket; right is s3://bucket/prefix.")
    return uri.rstrip("/")


def join(uri: str, *names: str) -> str:
    return "/".join([uri.rstrip("/"), *names])


def filesystem(uri: str) -> tuple[pf.FileSystem, str]:
    """The pyarrow file system of a URI and the path in it. S3 takes endpoint, region and keys from the environment."""
    uri = absolute(uri)
    if not is_remote(uri):
        return pf.LocalFileSystem(), uri
    path = uri.removeprefix("s3://")
    return _remote(path.partition("/")[0]), path


@functools.cache
def _remote(bucket: str) -> pf.FileSystem:
    try:
        return pf.FileSystem.from_uri(f"s3://{bucket}")[0]
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and _passing(error):  # it asks the store for the bucket's region
            raise
        raise InputError(f"s3://{bucket}: {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    return (str(error).split("\n")[0] or type(error).__name__).strip()


def _passing(error: OSError) -> bool:
    """Whether an error may go away by itself: the object store is unreachable, half up or overloaded."""
    code = re.search(r"AWS Error (.*)", str(error))
    return code is not None and not _FINAL_S3_ERRORS.match(code[1])


def retried(function: Callable[..., T], seconds: float | None = None) -> Callable[..., T]:
    """Call again, with growing pauses, while an object store is away; any other error is raised at once.

    Args:
        seconds: how long it is waited for, RETRY_SECONDS when not given; a call itself tries for some 6 s.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> T:
        deadline, pause = time.monotonic() + (RETRY_SECONDS if seconds is None else seconds), 0.5
        while True:
            try:
                return function(*args, **kwargs)
            except OSError as error:
                if not _passing(error) or time.monotonic() + pause > deadline:
                    raise
                logging.getLogger(__name__).warning("storage is away, trying again: %s", first_line(error))
            time.sleep(pause)
            pause = min(2 * pause, 8.0)

    return call


@retried
def exists(uri: str) -> bool:
    return _exists_once(uri)


def _exists_once(uri: str) -> bool:
    system, path = filesystem(uri)
    return system.get_file_info(path).type != pf.FileType.NotFound


@retried
def stat(uri: str) -> tuple[int, int] | None:
    """A file's bytes and time of change in nanoseconds; None if it is not there."""
    system, path = filesystem(uri)
    info = system.get_file_info(path)
    return (info.size, info.mtime_ns or 0) if info.type == pf.FileType.File else None


@retried
def missing(uris: list[str]) -> list[str]:
    """Those of some files of one file system that are not there."""
    if not uris:
        return []
    found = filesystem(uris[0])[0].get_file_info([filesystem(uri)[1] for uri in uris])
    return [uri for uri, info in zip(uris, found, strict=True) if info.type == pf.FileType.NotFound]


@retried
def read_bytes(uri: str) -> bytes:
    """The whole of a small file. Raises FileNotFoundError."""
    system, path = filesystem(uri)
    while True:
        with system.open_input_file(path) as file:  # one request for all; a stream asks for 256 KiB at a time
            data = file.read()
        if system.get_file_info(path).size == len(data):  # else it was replaced after its size was asked for
            return data


@retried
def write_bytes(uri: str, data: bytes | memoryview) -> None:
    """Write a file so that it is there whole or not at all."""
    _write_once(uri, data)


def _write_once(uri: str, data: bytes | memoryview) -> None:
    system, path = filesystem(uri)
    if is_remote(uri):
        with system.open_output_stream(path) as stream:
            stream.write(data)
        return
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


@retried
def delete(uri: str) -> None:
    """Delete a file, if it is there."""
    system, path = filesystem(uri)
    with contextlib.suppress(FileNotFoundError):
        system.delete_file(path)


@retried
def list_files(uri: str) -> dict[str, int]:
    """The files below a folder, relative to it, with their bytes; hidden ones left out; none if it is missing."""
    system, path = filesystem(uri)
    found = system.get_file_info(pf.FileSelector(path, recursive=True, allow_not_found=True))
    files = {info.path[len(path) :].lstrip("/"): info.size for info in found if info.type == pf.FileType.File}
    return {name: size for name, size in sorted(files.items()) if not os.path.basename(name).startswith(".")}


@retried
def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file. Columns are read as they were written, tensors included."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return pq.read_table(file, columns=columns)


def write_table(uri: str, table: pa.Table, *, compression: str = "zstd") -> int:
    """Write a Parquet file whole or not at all; returns its bytes. The same table always gives the same file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression=compression)
    write_bytes(uri, sink.getbuffer())
    return sink.tell()


@retried
def row_count(uri: str) -> int:
    """The rows of a Parquet file, from its footer."""
    system, path = filesystem(uri)
    with system.open_input_file(path) as file:
        return pq.read_metadata(file).num_rows


def check_readable(uri: str) -> None:
    """Fail now, in one line, if an object store does not answer or refuses. What is not there yet is fine.

    Raises:
        InputError: a wrong address, wrong keys, or no permission.
    """
    try:
        retried(_exists_once, seconds=5.0)(uri)  # a person waits
    except OSError as error:
        raise InputError(f"storage={uri}: cannot be read: {first_line(error)}") from None


def check_writable(uri: str) -> None:
    """Fail now, in one line, if nothing can be written below a URI.

    Raises:
        InputError: no permission, no such bucket, a file where the folder should be, or a store that does not answer.
    """
    probe = join(uri, f".probe-{uuid.uuid4().hex}")
    try:
        retried(_write_once, seconds=5.0)(probe, b"dsopt")  # a person waits: a wrong address is told soon
        delete(probe)
    except OSError as error:
        raise InputError(f"storage={uri}: cannot be written: {first_line(error)}") from None
