"""Commands of the user: run with their output in a file, and never longer than the process that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dsopt.pipeline import guard

POLL_S = 0.1


def run(command: Sequence[str], log: Path, folder: str | None, environment: Mapping[str, str], waiting: Callable[[], None]) -> int:
    """Run a command to its end; give its exit status as a shell does, 128 and the signal for a killed one.

    If this process ends, or `waiting` raises, the command ends too, with all that it has started.

    Args:
        log: gets all that it prints.
        folder: its working directory; None: that of this process.
        waiting: called again and again meanwhile.
    """
    guarded = [sys.executable, "-I", guard.__file__, *command]
    with log.open("wb") as file:
        # In a session of its own, Ctrl-C in a terminal does not reach it: it is ended by whoever waits for it.
        process = subprocess.Popen(
            guarded, stdin=subprocess.PIPE, stdout=file, stderr=file, cwd=folder, env=environment, start_new_session=True
        )
    assert process.stdin
    try:
        while process.poll() is None:
            waiting()
            time.sleep(POLL_S)
    finally:
        process.stdin.close()
        status = process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what the command left running
    return status if status >= 0 else 128 - status


def told(status: int) -> str:
    """An exit status in words."""
    try:
        return f"killed by {signal.Signals(status - 128).name}"
    except ValueError:
        return f"exit status {status}"


def last_lines(log: Path, most_bytes: int) -> list[str]:
    """The lines at the end of a file, as `lines_of`."""
    with log.open("rb") as file:
        file.seek(max(0, os.path.getsize(log) - most_bytes))
        return lines_of(file.read().decode(errors="replace"))


def lines_of(text: str) -> list[str]:
    """The lines of an output without blank ones; of a line that is drawn again and again the last state."""
    lines = (line.rstrip().rpartition("\r")[2] for line in text.split("\n"))
    return [line for line in lines if line.strip()]
