"""What a worker says and sets of its process."""

import platform
import subprocess
import sys
import time

import pytest
import torch

from dsopt.errors import InputError
from dsopt.training.worker import Worker, operations, this_process

FAULTS = """
import resource, torch
from dsopt.training.worker import keep_freed_memory
keep_freed_memory()
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    activations = [torch.ones(2**22) for _ in range(8)]  # 16 MiB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
step()
print(min(step() for _ in range(5)))
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept_for_the_next_step():
    """Without it, every one of these steps has some 30,000 page faults."""
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1000


def test_this_process():
    before = torch.get_num_threads()
    worker = this_process(gpu=False, threads=1)
    try:
        assert worker == Worker(0, 1, torch.device("cpu")) and worker.leads and not Worker(1, 2).leads
        assert torch.get_num_threads() == 1 and worker.describe().startswith("1 x 1 threads of ")
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_not_computed_costs_a_cpu_nothing(threads):
    before = torch.get_num_threads()
    worker = this_process(gpu=False, threads=threads)
    try:
        started, used = worker.device_seconds(), time.process_time()
        time.sleep(0.3)
        assert worker.device_seconds() - started < 0.1
        while time.process_time() - used < 0.2:
            pass
        assert worker.device_seconds() - started == pytest.approx(0.2 / threads, abs=0.02)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_images_come_back_in_order_from_one_thread_a_batch(threads):
    before = torch.get_num_threads()
    worker = this_process(gpu=False, threads=threads)
    seen = []

    def step(batch):
        seen.append(torch.get_num_threads())
        return 2 * batch

    try:
        assert worker.map(step, torch.arange(21), 6).tolist() == list(range(0, 42, 2))
        assert worker.map(step, torch.arange(3), 1).tolist() == [0, 2, 4]  # fewer at once than threads
        assert seen == ({1: 4, 3: 11}[threads] + 3) * [1] and torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_gpu_that_is_wanted_and_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^cluster\.gpu=true: torch sees no GPU here; expected [^\n]+$"):
        this_process(gpu=True)


def test_deterministic_operations_and_what_was_set_before() -> None:
    """The thesis, section 4.1. An operation without a deterministic form is told in one line, and no setting stays."""
    before = torch.backends.cudnn.benchmark
    with operations(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with operations(True):
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    with pytest.raises(InputError, match=r"^deterministic=true: put_ [^\n]*$"), operations(True):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
    with pytest.raises(RuntimeError, match="something else"), operations(True):
        raise RuntimeError("something else")
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic
    assert torch.backends.cudnn.benchmark == before
