"""Starting a small Ray on this machine for this process alone, or connecting to a cluster, without output."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dsopt.cluster import private

_own: str | None = None  # the address of the Ray that `start` started


def start(**options: Any) -> None:
    """`ray.init` with few processes; once more with all of Ray's if that fails, as it may on a very busy machine."""
    global _own
    import ray

    options |= {"address": "local", "include_dashboard": False}
    try:
        with private.fewer_processes():
            init(**options)
    except Exception:  # Ray raises bare Exceptions here; it gives its own processes 30 s to start
        ray.shutdown()
        init(**options)
    _own = ray.get_runtime_context().gcs_address


def init(**options: Any) -> None:
    """`ray.init` without output; errors are raised."""
    import ray

    with _no_native_output():
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)


@contextmanager
def _no_native_output() -> Iterator[None]:
    """Discard what Ray's C++ code writes to standard error, such as a line that it obeys RAY_BACKEND_LOG_LEVEL."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def is_own() -> bool:
    """Whether this process is connected to a Ray started by `start`: its resources are fixed, while a cluster may grow."""
    import ray

    return _own is not None and ray.is_initialized() and ray.get_runtime_context().gcs_address == _own
