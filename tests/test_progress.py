import contextlib
import os
import pty
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from dsopt import progress


@pytest.mark.parametrize(
    ("seconds", "told"), [(7.2, "7 s"), (99.4, "99 s"), (200, "3 min 20 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_are_for_people(seconds: float, told: str) -> None:
    assert progress.duration(seconds) == told


@pytest.mark.parametrize(
    ("rate", "told"),
    [(1203.6, "1,204/s"), (10, "10/s"), (3.52, "3.5/s"), (1, "1.0/s"), (0.075, "13 s each"), (0.004, "4 min 10 s each")],
)
def test_what_is_slow_is_told_by_the_piece(rate: float, told: str) -> None:
    assert progress.speed(rate) == told


def test_lines_say_how_far_how_fast_and_how_long_still(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, now = list[str](), [100.0]
    monkeypatch.setattr(progress, "output", lines.append)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    found = progress.Progress("embed digits", 1000, "images", done=200)
    for seconds, done in ((1.0, 300), (4.0, 400), (5.0, 500), (8.0, 600), (99.0, 1000)):
        now[0] = 100 + seconds
        found.update(done, "all well")
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "400/1,000 images   40 %  50/s  12 s left  all well",  # the 200 of before are not counted in the speed
        "600/1,000 images   60 %  50/s  8 s left  all well",  # not after 5 s, too soon, nor at the end
    ]


@pytest.mark.parametrize(("count", "told"), [(870, "870 B"), (14_300, "14 kB"), (3_210_000_000, "3.2 GB"), (5e15, "5000 TB")])
def test_sizes_are_for_people(count: float, told: str) -> None:
    assert progress.size(count) == told


SCRIPT = """
import time
from dsopt import progress
found = progress.Progress("embed digits", 1000, "images")
for done in (100, 500, 900):
    time.sleep(0.15)
    found.update(done, "all well")
progress.say("other", "a line beside it")
print("printed by others")
time.sleep(0.3)
found.update(1000)
progress.say("embed digits", "done")
progress.screen.close()
"""


def run(terminal: bool) -> str:
    """What the script writes, to a terminal or to a pipe."""
    command = [sys.executable, "-c", SCRIPT]
    if not terminal:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "160"})
    os.close(theirs)
    found = b""
    with contextlib.suppress(OSError):  # at its end, on Linux
        while data := os.read(ours, 65536):
            found += data
    assert process.wait() == 0
    return found.decode()


@pytest.mark.slow
def test_a_terminal_has_a_live_bar_and_a_log_has_lines() -> None:
    shown = run(terminal=True)
    assert "━" in shown and "900/1,000 images" in shown and "left  all well" in shown
    assert "a line beside it" in shown and "printed by others" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0  # the cursor is hidden, and comes back
    assert run(terminal=False) == f"{'other':<38} a line beside it\nprinted by others\n{'embed digits':<38} done\n"


def test_names_that_are_not_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("colorize", "left out " + os.fsdecode(b"caf\xe9.jpg"))
    assert capsys.readouterr().out.endswith("left out caf\\udce9.jpg\n")


def test_a_line_with_a_bar_is_a_line() -> None:
    line = progress.Line.of("embed  5/10", progress.Bar("embed", 5, 10))
    assert line == "embed  5/10" and line.bar == ("embed", 5, 10)


def test_workers_send_lines_with_their_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from dsopt.cluster.board import Board, Boards

    class Handle:
        """Of an actor that runs here."""

        def __getattr__(self, name: str) -> SimpleNamespace:
            return SimpleNamespace(remote=getattr(boards, name))

    boards = Boards()
    monkeypatch.setattr(ray, "get", lambda result: result)
    board, other = Board(Handle(), "board"), Board(Handle(), "other")
    monkeypatch.setattr(progress, "output", board.put)
    progress.say("embed", "begins: ü")
    found = progress.Progress("embed", 10, "images", every=0)
    found.update(5)
    first, second = board.take()
    assert isinstance(first, progress.Line) and first.split() == ["embed", "begins:", "ü"] and first.bar is None
    assert second.bar == progress.Bar("embed", 5, 10) and "5/10 images" in second and board.take() == []
    assert board.failed() is None
    for error in (ValueError("first"), ValueError("second")):
        board.fail(error)
    assert str(board.failed()) == "first" and other.failed() is None and other.take() == []
    board.clear()
    assert board.failed() is None
