"""Where code runs: which of how many workers, on which device, with how many threads."""

import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dsopt.data import room
from dsopt.errors import InputError


def _unwatched(share: float, state: Any) -> None: ...


def _alone() -> None: ...


@dataclass(frozen=True)
class Worker:
    """One of `world` processes.

    Args:
        watch: called during training with the fraction of the budget that is spent and the loop's state; may raise to end the run.
        meet: returns when all workers have called it, without a time limit. Called wherever images were loaded and before the next
            collective operation, which has one (`cluster.timeout_minutes`): one worker may load for longer than another.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")
    watch: Callable[[float, Any], None] = field(default=_unwatched, compare=False)
    meet: Callable[[], None] = field(default=_alone, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this worker reports and writes: one of them does."""
        return self.rank == 0

    def map(self, step: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> Tensor:
        """`step` of all images, in batches of `batch_size`; on a CPU every thread has smaller batches of its own.

        Threads that share a batch wait for each other after every layer, and whenever another process occupies one of their cores.
        """
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        batches = images.split(max(1, batch_size // threads))
        if threads == 1:
            return torch.cat([step(batch) for batch in batches])
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            done = torch.cat(list(pool.map(step, batches)))
        torch.set_num_threads(threads)  # the pool's initializer set the default to 1 for threads that start later
        return done

    def device_seconds(self) -> float:
        """A clock of the device's work; differences between two readings are the cost of what ran between them.

        For a CPU it is the processor time of this process divided by its threads, which other processes do not change: 24 short
        trainings on two busy cores cost 6.5 s, and took 11.6 s. For a GPU it is wall-clock time.
        """
        return time.process_time() / torch.get_num_threads() if self.device.type == "cpu" else time.perf_counter()

    def describe(self) -> str:
        """The hardware, for reports."""
        if self.device.type == "cuda":
            return f"{self.world} x {torch.cuda.get_device_name(self.device)}"
        return f"{self.world} x {torch.get_num_threads()} threads of {_processor()}"


@contextmanager
def operations(deterministic: bool) -> Iterator[None]:
    """Within it torch uses deterministic operations alone (the thesis, section 4.1), if `deterministic`.

    Raises:
        InputError: an operation has no such form.
    """
    if not deterministic:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it torch refuses matrix products on GPUs
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise InputError(f"deterministic=true: {str(error).splitlines()[0]}") from None
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[1:]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def this_process(gpu: bool | None = None, threads: int | None = None, processes: int = 1) -> Worker:
    """A single worker: on the GPU if there is one, unless `gpu` is False; with `threads` CPU threads.

    Args:
        processes: the most that run on this machine at once; see `dsopt.data.room`.

    Raises:
        InputError: `gpu` is True, and torch sees no GPU.
    """
    if gpu and not torch.cuda.is_available():
        raise InputError(
            "cluster.gpu=true: torch sees no GPU here; expected cluster.gpu=false, or a torch that fits the GPU's driver."
        )
    room.processes = processes
    set_arithmetic()
    if threads:
        torch.set_num_threads(threads)
    return Worker(device=torch.device("cuda" if gpu is not False and torch.cuda.is_available() else "cpu"))


def set_arithmetic() -> None:
    """How GPUs compute in float32, whatever the environment says: exact matrix products, which selection and distances need, and
    convolutions in TF32 (10 bits of mantissa), of which networks notice nothing; torch's defaults."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = True


def keep_freed_memory() -> None:
    """Make glibc keep up to 1 GiB of freed memory for the next step; does nothing with other C libraries.

    By default glibc returns every step's activations to the system, which zeroes their pages when they are allocated again: for the
    paper's classifier that is 5,600 page faults and a tenth of the time of a step.
    """
    if sys.platform == "linux":
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda name, value: 0)
        mallopt(trim_threshold, 2**30)
        mallopt(mmap_threshold, 2**25)  # 32 MiB, the most that all versions of glibc accept
