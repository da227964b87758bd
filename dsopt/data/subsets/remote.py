"""Reading ranges of remote files through fsspec, many at once; safe in forked processes, which pyarrow's S3 client is not."""

import errno
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec

from dsopt import files
from dsopt.errors import InputError
from dsopt.files import first_line

Range = tuple[str, int | None, int | None]  # uri, start, stop; start None: the whole file

T = TypeVar("T")

# Connections of a process. s3fs reads the address and the keys from the environment variables that pyarrow reads, too.
_OPTIONS = {"s3": {"config_kwargs": {"max_pool_connections": 64}, "default_fill_cache": False}}
# What s3fs makes of a store's own errors, and the names of the bases of errors of botocore and aiohttp.
_TRANSIENT = (errno.EIO, errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO))
_NETWORK = (
    "ConnectionError",
    "HTTPClientError",
    "ClientConnectionError",
    "ClientPayloadError",
)


def is_remote(uri: str) -> bool:
    """Whether a URI is anything but a path of this machine."""
    return "://" in uri and not uri.startswith("file://")


def file_system(uri: str) -> fsspec.AbstractFileSystem:
    """The fsspec file system of a URI; a forked process gets one of its own.

    Raises:
        InputError: its scheme is not known, or the package that reads it is not installed.
    """
    scheme = uri.partition("://")[0]
    try:
        kind: Any = fsspec.get_filesystem_class(scheme)
        return fsspec.filesystem(scheme, **kind._get_kwargs_from_urls(uri), **_OPTIONS.get(scheme, {}))
    except (ValueError, ImportError) as error:
        raise InputError(f"{uri}: {first_line(error)}") from None


def read_ranges(wanted: list[Range]) -> list[bytes | Exception]:
    """The bytes of each range, or the error in its place; retries while a store is unreachable."""
    found: list[Any] = [None] * len(wanted)
    left, deadline, pause = list(range(len(wanted))), time.monotonic() + files.RETRY_SECONDS, 0.5
    while left:
        by_system: dict[Any, list[int]] = defaultdict(list)  # fsspec gives one object for each store
        for i in left:
            by_system[file_system(wanted[i][0])].append(i)
        for system, some in by_system.items():
            paths = [system._strip_protocol(wanted[i][0]) for i in some]
            # 0 instead of None: s3fs would ask for the size of the file first.
            starts, stops = [wanted[i][1] or 0 for i in some], [wanted[i][2] for i in some]
            for i, data in zip(some, system.cat_ranges(paths, starts, stops, on_error="return"), strict=True):
                found[i] = data
        # A file that ends before a range begins gives nothing, as a local one does.
        found = [b"" if isinstance(data, OSError) and "range is not satisfiable" in str(data) else data for data in found]
        left = [i for i in left if isinstance(found[i], Exception) and _transient(found[i])]
        if not left or time.monotonic() + pause > deadline:
            break
        pause = _wait(pause, found[left[0]])
    return found


def retried(function: Callable[[], T]) -> T:
    """Call a function again, with growing pauses, while a store is unreachable; other errors are raised at once."""
    deadline, pause = time.monotonic() + files.RETRY_SECONDS, 0.5
    while True:
        try:
            return function()
        except Exception as error:
            if not _transient(error) or time.monotonic() + pause > deadline:
                raise
            pause = _wait(pause, error)


def _wait(pause: float, error: Exception) -> float:
    logging.getLogger(__name__).warning("storage is unreachable, retrying: %s", first_line(error))
    time.sleep(pause)
    return min(2 * pause, 8.0)


def _transient(error: Exception) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return not names.isdisjoint(_NETWORK) or (isinstance(error, OSError) and error.errno in _TRANSIENT)
