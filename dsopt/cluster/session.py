"""Connecting to Ray, and what of it each worker gets."""

import atexit
import logging
import math
import os
import pickle
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from dsopt import progress
from dsopt.cluster import local
from dsopt.config import ClusterConfig
from dsopt.errors import InputError, JobError

# Read by Ray when it is imported or started. Only defaults: what the user or a cluster has set stays.
_ENVIRONMENT = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # progress is ours to tell
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a fit starts and ends 4 s sooner than with the default of 2 s
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # https://github.com/ray-project/ray/issues/53727
    "RAY_AIR_NEW_OUTPUT": "0",
    # Of a Ray started here. By default its workers give way to every other process (niceness 15): beside four busy ones a worker
    # on two cores had 8 s of a CPU in 157 s.
    "RAY_worker_niceness": "0",
}

_NAMESPACE = "dsopt"  # in the control store

LOOK_S, REPEAT_S = 3.0, 60.0  # how often a cluster that lacks something is looked at, and the same is said again

STARTS = 2  # Ray gives its own processes 30 s to start; on a machine that is busy for a moment they take longer


@dataclass(frozen=True)
class Share:
    """What each of `workers` workers gets."""

    workers: int
    gpus: float
    cpus: float  # to ask Ray for
    threads: int  # to use


def connect() -> Any:
    """Ray, connected: to the cluster of `RAY_ADDRESS` (`ray job submit` sets it), else to one started here for this process.

    A cluster that happens to run on this machine is not joined unasked: it may be another job's, about to end with it.
    """
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of this process alone, bound to this machine
    else:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # of 40 s; the default is 20
    import ray

    if not ray.is_initialized():
        quiet("ray")
        for attempt in range(STARTS):
            try:
                local.start() if address == "local" else local.init(address=address)
                break
            except Exception as error:  # Ray raises plain ones here
                ray.shutdown()
                if address != "local" or attempt == STARTS - 1:
                    raise JobError(f"Ray cannot be started or reached (RAY_ADDRESS={address}): {cause(error)}") from None
        atexit.register(ray.shutdown)
    return ray


def quiet(library: str) -> None:
    """Silence the log of one of Ray's libraries: errors come as exceptions. Importing it undoes this, so it is for afterwards."""
    logging.getLogger(library).setLevel(logging.CRITICAL)


def cause(error: BaseException) -> str:
    """The one line that matters of an error from another process, whose text is a traceback between Ray's explanations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", line) and not line.startswith("ray.")]
    return raised[-1] if raised else f"{type(error).__name__}: {lines[0] if lines else ''}"


def share(config: ClusterConfig, gpus: float = 1.0) -> Share:
    """Divide the cluster's CPUs, or give every worker `gpus` of its GPUs: on a Ray of our own, to no more workers than it can.

    Raises:
        InputError: workers shall have GPUs, and this machine, whose Ray does not grow, has none.
    """
    ray = connect()
    there = ray.cluster_resources().get("GPU", 0)
    gpu = config.gpu if config.gpu is not None else there > 0
    workers = on_gpus(config.workers, gpus, there) if gpu and local.ours() else config.workers
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    fitting = cpus_each(nodes, workers)
    threads = config.cpus_per_worker or max(1, int(fitting))
    return Share(workers, gpus if gpu else 0.0, min(1.0 if gpu else float(threads), fitting), threads)


def on_gpus(workers: int, each: float, there: float) -> int:
    """How many of `workers` find `each` of the GPUs that are there and stay all: one at least, but none without any GPU."""
    if not there:
        raise InputError(
            "cluster.gpu=true: Ray sees no GPU on this machine; right is cluster.gpu=false, or RAY_ADDRESS of a cluster with GPUs."
        )
    return max(1, min(workers, int(there / each)))


def cpus_each(nodes: Sequence[int], workers: int) -> float:
    """The most CPUs that each worker can have when every one must find its place on some node.

    Args:
        nodes: the CPUs of each; none at all is a cluster that grows when it is asked.

    Returns:
        A whole number, or an even share of one CPU where there are more workers than CPUs.
    """
    whole = [cpus for cpus in range(1, max(nodes, default=0) + 1) if sum(node // cpus for node in nodes) >= workers]
    return float(whole[-1]) if whole else 1 / math.ceil(workers / (sum(nodes) or workers))


@dataclass(frozen=True)
class Board:
    """What workers tell the process that waits for them: lines for people, and an error that no other attempt would mend.

    Kept by the cluster's control store, to which all are connected; an actor would be one more process to start, for every call.
    """

    name: str

    def put(self, line: str) -> None:
        key = f"{self.name} line {time.time_ns():020d} {uuid.uuid4().hex}"
        with suppress(Exception):  # a line lost is no reason to end the work
            _store()._internal_kv_put(key, line, namespace=_NAMESPACE)

    def take(self) -> list[str]:
        """The lines since the last call, in the order of their times."""
        lines = []
        for key in sorted(_store()._internal_kv_list(f"{self.name} line ", namespace=_NAMESPACE)):
            lines.append(_store()._internal_kv_get(key, namespace=_NAMESPACE).decode())
            _store()._internal_kv_del(key, namespace=_NAMESPACE)
        return lines

    def fail(self, error: Exception) -> None:
        """The first error told is kept."""
        _store()._internal_kv_put(f"{self.name} failure", pickle.dumps(error), overwrite=False, namespace=_NAMESPACE)

    def failed(self) -> Exception | None:
        told = _store()._internal_kv_get(f"{self.name} failure", namespace=_NAMESPACE)
        return pickle.loads(told) if told else None

    def clear(self) -> None:
        _store()._internal_kv_del(f"{self.name} ", del_by_prefix=True, namespace=_NAMESPACE)


def _store() -> Any:
    from ray.experimental import internal_kv

    return internal_kv


@contextmanager
def voice() -> Iterator[Board]:
    """A board through which workers speak with this process's output: pass it to `speak_through` there."""
    connect()
    board = Board(uuid.uuid4().hex)

    def listen() -> None:
        for line in board.take():
            print(line, flush=True)

    try:
        with _beside(listen, 0.3):
            yield board
    finally:
        with suppress(Exception):
            board.clear()


@contextmanager
def patience(share: Share, least: int = 1) -> Iterator[None]:
    """Meanwhile tell a person what a cluster lacks for `least` of the workers, for as long as it does: nobody else would."""
    if local.ours():
        yield
        return
    ray, said, at = connect(), None, 0.0

    def look() -> None:
        nonlocal said, at
        line, now = shortage(share, least, ray.cluster_resources()), time.monotonic()
        if line and (line != said or now - at >= REPEAT_S):
            progress.say("cluster", line)
            at = now
        said = line

    with _beside(look, LOOK_S):
        yield


def shortage(share: Share, least: int, there: Mapping[str, float]) -> str | None:
    """What is waited for where not even `least` of the workers can have their share; None if they can."""
    kind, each = ("GPU", share.gpus) if share.gpus else ("CPU", share.cpus)
    if there.get(kind, 0) >= least * each:
        return None
    wanted = math.ceil(share.workers * each)
    return f"waiting for {wanted} {kind}{'s' if wanted > 1 else ''}; the cluster has {there.get(kind, 0):g}"


@contextmanager
def _beside(look: Callable[[], None], every: float) -> Iterator[None]:
    """Call `look` every so many seconds in a thread, and once more at the end."""
    stop = threading.Event()

    def watch() -> None:
        last = False
        while not last:
            last = stop.wait(every)
            try:
                look()
            except Exception:  # the cluster is gone, which the work itself will tell
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)


def speak_through(board: Board) -> None:
    """In a worker: send progress lines to the process that waits for it."""
    progress.output = board.put
