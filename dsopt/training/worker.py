"""Where a piece of work runs: which of how many workers, on what device, with how many threads."""

import ctypes
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dsopt.errors import InputError


def _unwatched(share: float, state: Any) -> None: ...


@dataclass(frozen=True)
class Worker:
    """One of `world` processes.

    Args:
        watch: told the share of a training run's budget that is spent, and the loop's state, as it goes; may raise to end the run.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    watch: Callable[[float, Any], None] = field(default=_unwatched, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this worker is the one that reports and writes."""
        return self.rank == 0

    def map(self, step: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
        """`step` of all images, `batch_size` of them at once; on a CPU as many smaller batches as there are threads, each on one.

        Threads that share a batch wait for each other after every layer, and whenever another process has one of their cores.
        """
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        batches = images.split(max(1, batch_size // threads))
        if threads == 1:
            return torch.cat([step(batch) for batch in batches])
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            done = torch.cat(list(pool.map(step, batches)))
        torch.set_num_threads(threads)  # for threads that start later; this one's number has not changed
        return done

    def device_seconds(self) -> float:
        """A clock of the device's work: its differences are what something cost.

        Of a CPU the processor time of this process, over its threads: what else runs there makes nothing dearer (24 short
        trainings on two busy cores: 6.5 s, where 11.6 went by). Of a GPU the time that goes by.
        """
        return time.process_time() / torch.get_num_threads() if self.device.type == "cpu" else time.perf_counter()

    def describe(self) -> str:
        """The hardware, for whoever reads the figures."""
        if self.device.type == "cuda":
            return f"{self.world} x {torch.cuda.get_device_name(self.device)}"
        return f"{self.world} x {torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def this_process(gpu: bool | None = None, threads: int | None = None) -> Worker:
    """A worker of its own: on the GPU if there is one and it is not declined, with `threads` CPU threads.

    Raises:
        InputError: a GPU is wanted, and torch sees none.
    """
    if gpu and not torch.cuda.is_available():
        raise InputError("cluster.gpu=true: torch sees no GPU here; right is cluster.gpu=false, or a torch that fits its driver.")
    if threads:
        torch.set_num_threads(threads)
    return Worker(device=torch.device("cuda" if gpu is not False and torch.cuda.is_available() else "cpu"))


def keep_freed_memory() -> None:
    """Have the C library keep up to 1 GiB of freed memory for the next step, where it is glibc; elsewhere do nothing.

    By default it gives every step's activations back to the system, which then clears their pages again: for the paper's
    classifier 5,600 page faults and a tenth of the time of a step.
    """
    if sys.platform == "linux":
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda name, value: 0)
        mallopt(trim_threshold, 2**30)
        mallopt(mmap_threshold, 2**25)  # bytes; the most that every version takes
