"""A main job that kills itself, without a word, at a given moment of its writing; see test_driver_death.py.

    killed.py MOMENTS ARGUMENTS...

A moment is "before PATTERN" or "after PATTERN": the write of a file whose URI the pattern is found in. "amid" is the moment between
the writing of the temporary file and its taking the file's name. The job runs once for every moment, in a process of its own that
is forked here, so that the imports are paid for once.
"""

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(REPOSITORY)

import pandas  # noqa: E402, F401  # by pyarrow in every job

from dsopt import config, files  # noqa: E402
from dsopt.jobs.job import find  # noqa: E402
from dsopt.jobs.main import main  # noqa: E402


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str) -> None:
    """Make the named write the last thing that this process does."""
    when, _, pattern = moment.partition(" ")
    write, replace = files._write_once, os.replace

    def disturbed(uri: str, data: bytes | memoryview) -> None:
        if not re.search(pattern, uri):
            return write(uri, data)
        if when == "before":
            die()
        if when == "amid":
            os.replace = lambda *_: die()
        write(uri, data)
        die()

    files._write_once = disturbed
    assert replace is os.replace


def run(arguments: list[str]) -> int:
    return main("optimize", arguments)


def in_a_fork(work: Callable[[], int]) -> int:
    """The wait status of a process that does some work."""
    child = os.fork()
    if child == 0:
        os._exit(work())
    return os.waitpid(child, 0)[1]


def disturb(moment: str, arguments: list[str]) -> int:
    arm(moment)
    return run(arguments)


if __name__ == "__main__":
    find("optimize"), config.load(sys.argv[2:])  # imports torch, and all that is chosen by name: `main` would in every fork
    for moment in json.loads(sys.argv[1]):
        ended = in_a_fork(lambda moment=moment: disturb(moment, sys.argv[2:]))
        if not (os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL):
            sys.exit(f"{moment}: the job came to its end")
    sys.exit(run(sys.argv[2:]))
