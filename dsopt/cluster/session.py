"""Connecting to Ray, and each worker's share of its resources."""

import atexit
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dsopt import progress
from dsopt.cluster import local
from dsopt.config import ClusterConfig
from dsopt.errors import InputError, JobError

# Read by Ray when it is imported or started. These are defaults only: what the user or the cluster has set is kept.
_ENVIRONMENT = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # progress is printed by `dsopt.progress`
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a fit starts and ends 4 s sooner than with the default of 2 s
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # https://github.com/ray-project/ray/issues/53727
    "RAY_AIR_NEW_OUTPUT": "0",
    # For a Ray started here. By default its workers run at niceness 15: on two cores, beside four busy processes, a worker got
    # 8 s of CPU time in 157 s.
    "RAY_worker_niceness": "0",
}

CHECK_S, REPEAT_S = 3.0, 60.0  # seconds between checks for missing resources, and between two equal messages about them


LEAST_CPUS = 0.5  # of a process that mostly reads, writes or waits: two of them, or one and what it waits for, fit on one CPU


@dataclass(frozen=True)
class Share:
    """The resources of each of `workers` workers."""

    workers: int
    gpus: float
    cpus: float  # requested from Ray
    threads: int | None  # used by torch; None: found out in the worker, see `threads`


def connect() -> Any:
    """Connect to the cluster of `RAY_ADDRESS` (set by `ray job submit`), else start a Ray for this process; return the module ray.

    A Ray that already runs on this machine is not joined unless asked: it may belong to another job and end with it.
    """
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    address = os.environ.get("RAY_ADDRESS") or "local"
    if address == "local":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # it serves this process alone and listens on this machine only
    else:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # one retry takes 40 s; the default of 20 takes 13 minutes
    import ray

    if not ray.is_initialized():
        silence("ray")
        try:
            local.start() if address == "local" else local.init(address=address)
        except Exception as error:  # Ray raises bare Exceptions here
            ray.shutdown()
            raise JobError(f"Ray cannot be started or reached (RAY_ADDRESS={address}): {root_cause(error)}") from None
        atexit.register(ray.shutdown)
    return ray


def silence(library: str) -> None:
    """Silence the logger of one of Ray's libraries: errors are raised anyway. Call it after the import, which resets the level."""
    logging.getLogger(library).setLevel(logging.CRITICAL)


def root_cause(error: BaseException) -> str:
    """The line of the original exception in an error from another process, whose text is its traceback and Ray's explanations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", line) and not line.startswith("ray.")]
    if raised:
        return raised[-1]
    said = lines[0] if lines else ""
    if type(error).__module__.startswith("ray."):
        said = said.partition(". ")[0]  # explanations follow
    return f"{type(error).__name__}: {said}"


def share(config: ClusterConfig, gpus: float = 1.0, cpus: int | None = None) -> Share:
    """Divide the cluster's CPUs among the workers, or give each `gpus` GPUs; a Ray started here may get fewer workers than asked.

    Args:
        gpus: of each worker, if there are any; 0: none.
        cpus: of each worker, requested with GPUs too; not given: an equal share. A Ray started here gives what it has, at most.

    Raises:
        InputError: workers need GPUs and a Ray started here, whose resources are fixed, has none.
    """
    ray = connect()
    available = ray.cluster_resources().get("GPU", 0)
    gpu = gpus > 0 and (config.gpu if config.gpu is not None else available > 0)
    workers = workers_on_gpus(config.workers, gpus, available) if gpu and local.is_own() else config.workers
    nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    if cpus:
        return Share(workers, gpus if gpu else 0.0, min(cpus, max(nodes)) if local.is_own() else cpus, cpus)
    fitting = cpus_each(nodes, workers)
    known = local.is_own() or (not gpu and any(nodes))  # else the nodes that workers will get may not be there yet
    threads = config.cpus_per_worker or (max(1, int(fitting)) if known else None)
    # On GPUs a worker requests at most 1 CPU, though it uses `threads`: the GPUs alone decide how many workers a node runs.
    return Share(workers, gpus if gpu else 0.0, min(1.0 if gpu else float(threads or 1), fitting), threads)


def threads(share: Share, beside: int | None = None) -> int:
    """In a worker: how many threads torch gets. Where the share does not say: its part of the CPUs of the node that it runs on.

    Args:
        beside: how many workers of its run are on this node, itself included, if that is known; not used with GPUs.
    """
    if share.threads:
        return share.threads
    import ray

    here = ray.get_runtime_context().get_node_id()
    node = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == here)
    part = share.gpus / node["GPU"] if share.gpus else 1 / (beside or share.workers)
    return max(1, int(node.get("CPU", 0) * part))


def most_memory() -> int:
    """Bytes of the node that has the most for tasks, of those that have CPUs; 0 if the cluster has none now."""
    nodes = [node["Resources"] for node in connect().nodes() if node["Alive"]]
    return int(max((node.get("memory", 0) for node in nodes if node.get("CPU")), default=0))


def workers_on_gpus(workers: int, each: float, available: float) -> int:
    """The number of workers, at most `workers` and at least 1, that fit on the GPUs at `each` GPUs per worker.

    Raises:
        InputError: there is no GPU, or not as many as one worker needs.
    """
    if 0 < available < each and each > 1:
        raise InputError(f"a worker needs {each:g} GPUs, and Ray sees {available:g} on this machine; expected at most as many.")
    if not available:
        raise InputError(
            "cluster.gpu=true: Ray sees no GPU on this machine; expected cluster.gpu=false, or RAY_ADDRESS of a cluster with GPUs."
        )
    return max(1, min(workers, int(available / each)))


def cpus_each(nodes: Sequence[int], workers: int) -> float:
    """The largest number of CPUs per worker with which all workers fit on the nodes.

    Args:
        nodes: the CPUs of each node; empty for a cluster that has scaled to zero and grows on demand.

    Returns:
        A whole number, or an equal fraction of a CPU if there are more workers than CPUs.
    """
    whole = [cpus for cpus in range(1, max(nodes, default=0) + 1) if sum(node // cpus for node in nodes) >= workers]
    return float(whole[-1]) if whole else 1 / math.ceil(workers / (sum(nodes) or workers))


@contextmanager
def reporting_shortage(share: Share, least: int = 1) -> Iterator[None]:
    """While the cluster lacks resources for `least` of the workers, print a line about it: Ray itself waits silently."""
    if local.is_own():
        yield
        return
    ray, last_line, last_time = connect(), None, 0.0

    def check() -> None:
        nonlocal last_line, last_time
        line, now = shortage(share, least, ray.cluster_resources()), time.monotonic()
        if line and (line != last_line or now - last_time >= REPEAT_S):
            progress.say("cluster", line)
            last_time = now
        last_line = line

    with repeating(check, CHECK_S):
        yield


def shortage(share: Share, least: int, available: Mapping[str, float]) -> str | None:
    """A line that says what is missing if fewer than `least` workers can get their share; None otherwise."""
    kind, each = ("GPU", share.gpus) if share.gpus else ("CPU", share.cpus)
    if available.get(kind, 0) >= least * each:
        return None
    wanted = math.ceil(share.workers * each)
    return f"waiting for {wanted} {kind}{'s' if wanted > 1 else ''}; the cluster has {available.get(kind, 0):g}"


@contextmanager
def repeating(action: Callable[[], None], every: float) -> Iterator[None]:
    """Call `action` every `every` seconds in a thread, and once more at the end."""
    stop = threading.Event()

    def repeat() -> None:
        last = False
        while not last:
            last = stop.wait(every)
            try:
                action()
            except Exception:  # the connection to the cluster is lost: the work itself will raise that
                return

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)
