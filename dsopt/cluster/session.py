"""Connecting to Ray, and what of it each worker gets."""

import atexit
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dsopt import progress
from dsopt.config import ClusterConfig

# Read by Ray when it is imported or started. Only defaults: what the user or a cluster has set stays.
_ENVIRONMENT = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # progress is ours to tell
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a fit starts and ends 4 s sooner than with the default of 2 s
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # https://github.com/ray-project/ray/issues/53727
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Share:
    """What each of `workers` workers gets."""

    workers: int
    gpus: float
    cpus: float  # to ask Ray for
    threads: int  # to use


def connect() -> Any:
    """Ray, connected: to the cluster of `RAY_ADDRESS` or of this machine, else to one started here for this process."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if "RAY_ADDRESS" not in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of this process alone, bound to this machine
    import ray

    if not ray.is_initialized():
        for name in ("ray", "ray.data", "ray.train", "ray.tune"):
            logging.getLogger(name).setLevel(logging.ERROR)
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
        atexit.register(ray.shutdown)
    return ray


def share(config: ClusterConfig) -> Share:
    """Divide the cluster's CPUs, or give every worker a GPU."""
    ray = connect()
    resources = ray.cluster_resources()
    gpu = config.gpu if config.gpu is not None else resources.get("GPU", 0) > 0
    workers, cpus = config.workers, int(resources.get("CPU", 0))
    threads = config.cpus_per_worker or max(1, cpus // workers)
    return Share(workers, float(gpu), 1.0 if gpu else float(min(threads, max(1, cpus // workers))), threads)


@contextmanager
def voice() -> Iterator[Any]:
    """A handle that lets workers speak through this process's output: pass it to `speak_through` there."""
    ray = connect()
    board = ray.remote(num_cpus=0)(_Board).remote()
    stop = threading.Event()

    def listen() -> None:
        last = False
        while not last:
            last = stop.wait(0.3)
            try:
                lines = ray.get(board.take.remote(), timeout=10)
            except Exception:  # its node died: the work goes on, quietly
                return
            for line in lines:
                print(line, flush=True)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield board
    finally:
        stop.set()
        thread.join(timeout=15)
        ray.kill(board)


def speak_through(board: Any) -> None:
    """In a worker: send progress lines to the process that waits for it."""
    progress.output = lambda line: board.put.remote(line)


class _Board:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, line: str) -> None:
        self.lines.append(line)

    def take(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines
