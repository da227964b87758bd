"""Commands of the user end with whoever waits for them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from running import until

from dsopt.pipeline import commands

# A command that starts another process, and neither ends soon.
TWO = "import os, subprocess, sys, time; print(os.getpid(), subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"


def started(log: Path) -> list[int]:
    until(lambda: log.exists() and len(log.read_text().split()) == 2, 60)
    return [int(word) for word in log.read_text().split()]


def gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run(log: Path, code: str) -> int:
    return commands.run([sys.executable, "-c", code], log, None, os.environ, lambda: None)


@pytest.mark.slow
def test_status_and_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(log, "import sys; print('out'); print('10 %\\r20 %\\n\\n', file=sys.stderr); sys.exit(3)") == 3
    assert sorted(commands.last_lines(log, 100)) == ["20 %", "out"] and commands.told(3) == "exit status 3"
    assert commands.told(run(log, "import os; os.kill(os.getpid(), 9)")) == "killed by SIGKILL"
    assert commands.run(["no-such-command"], log, None, os.environ, lambda: None) == 127
    assert commands.last_lines(log, 100) == ["no-such-command: cannot be started: No such file or directory"]
    assert run(log, "import sys; assert sys.stdin.read() == ''") == 0


def test_an_interruption_ends_all_that_was_started(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def interrupted() -> None:
        started(log)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run([sys.executable, "-c", TWO], log, None, os.environ, interrupted)
    until(lambda: all(map(gone, started(log))), 300)


def test_a_killed_process_takes_its_command_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "from dsopt.pipeline.commands import run; import os, pathlib, sys; "
    code += f"run([sys.executable, '-c', {TWO!r}], pathlib.Path({str(log)!r}), None, os.environ, lambda: None)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    both = started(log)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: all(map(gone, both)), 300)


@pytest.mark.long
@pytest.mark.slow
def test_what_ignores_the_end_is_killed(tmp_path: Path) -> None:
    log, stubborn = tmp_path / "log", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + TWO

    def interrupted() -> None:
        started(log)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run([sys.executable, "-c", stubborn], log, None, os.environ, interrupted)
    until(lambda: all(map(gone, started(log))), 300)  # far from the 600 s that they sleep
