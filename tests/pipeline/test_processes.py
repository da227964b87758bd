"""Work on several processes of this machine: all results, errors as they are, and an end in every case."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest
from running import title, until

from dsopt.errors import InputError, JobError
from dsopt.pipeline.processes import unordered


def square(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def refuse(number: int) -> int:
    raise InputError(f"{number} is wrong")


def die_elsewhere(parent: int) -> None:
    if os.getpid() != parent:
        os._exit(7)


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in title(child)]


def test_one_process_or_one_item_is_this_process() -> None:
    assert list(unordered(square, range(5), 1)) == [(i * i, os.getpid()) for i in range(5)]
    assert list(unordered(square, [3], 8)) == [(9, os.getpid())]
    assert list(unordered(square, [], 8)) == []


@pytest.mark.slow
def test_all_results_of_this_and_other_processes_which_end() -> None:
    found = list(unordered(square, range(1000), 2))
    assert sorted(value for value, _ in found) == [i * i for i in range(1000)]
    processes = [pid for _, pid in found]
    assert processes[0] == os.getpid() and len(set(processes)) == 2  # this one does not wait for the other to start
    until(lambda: not children())


@pytest.mark.slow
def test_an_error_is_raised_as_it_is() -> None:
    with pytest.raises(InputError, match="is wrong"):
        list(unordered(refuse, range(3), 2))
    until(lambda: not children())


@pytest.mark.slow
def test_a_lost_process_is_told() -> None:
    with pytest.raises(JobError, match="lost"):
        list(unordered(die_elsewhere, [os.getpid()] * 3, 2))


@pytest.mark.slow
def test_closing_ends_them_amid_their_work() -> None:
    results: Iterator[int] = unordered(sleep, [600.0, 0.0, 0.0], 2)  # the other process sleeps
    with closing(results):  # type: ignore[type-var]
        next(results)
        assert children()
    until(lambda: not children(), 300)


@pytest.mark.long
@pytest.mark.slow
def test_scripts_without_a_guard_and_from_a_pipe() -> None:
    script = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
    script += "from test_processes import square\nfrom dsopt.pipeline.processes import unordered\n"
    script += "print(sum(value for value, _ in unordered(square, range(4), 2)))"
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("14\n", "")


SCRIPT = """
import sys, time
sys.path[:0] = {path!r}
from test_processes import sleep
from dsopt.pipeline.processes import unordered
if __name__ == "__main__":
    for pid in unordered(sleep, [0.0, 0.0, 600.0, 600.0], 2):
        print(pid, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_they_end_with_the_process_that_started_them(how: signal.Signals, tmp_path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(path=[p for p in sys.path if p]))
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None and parent.stdout.readline()
    started = psutil.Process(parent.pid).children(recursive=True)
    assert len(started) >= 2
    parent.send_signal(how)
    parent.wait(timeout=300)
    until(lambda: not any(map(title, started)), 300)  # they would sleep for 600 s
