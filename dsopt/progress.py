"""Progress of a stage: how far, how fast and how long still; a live bar in a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

WIDTH = 38  # of a stage's name, at the start of a line


class Bar(NamedTuple):
    """How far a stage is."""

    stage: str
    done: int
    total: int


class Line(str):
    """A line for people; with `bar`, it tells how far a stage is, and a terminal draws it."""

    bar: Bar | None = None

    @classmethod
    def of(cls, text: str, bar: Bar | None) -> "Line":
        line = cls(text)
        line.bar = bar
        return line


class Screen:
    """Bars at the bottom of a terminal, one for each stage at work; lines appear above them."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by name: every process has the one of its own. (Ray Tune pickles whoever listens to its trials.)"""
        return _screen, ()

    def __init__(self) -> None:
        self.progress: Any = None  # of rich, while there are bars
        self.tasks: dict[str, Any] = {}
        self.lock = threading.RLock()  # lines of workers come in a thread of their own

    def show(self, line: str) -> None:
        """Print a line, or draw it where it has a bar and standard output is a terminal."""
        bar = getattr(line, "bar", None)
        with self.lock:
            if bar and in_terminal():
                self._draw(bar, line.removeprefix(title(bar.stage)))
                return
            for stage in [stage for stage in self.tasks if line.startswith(title(stage))]:
                self._end(stage)  # it says something else: it is past its bar
            print(line.encode(errors="backslashreplace").decode(), flush=True)  # names of files need not be UTF-8

    def _draw(self, bar: Bar, text: str) -> None:
        if self.progress is None:
            from rich.progress import BarColumn, Progress, TextColumn  # only a terminal needs it

            columns = TextColumn("{task.description}", markup=False), BarColumn(24), TextColumn("{task.fields[text]}", markup=False)
            self.progress = Progress(*columns, transient=True, refresh_per_second=8)
            self.progress.start()  # what others print appears above the bars
        if bar.stage not in self.tasks:
            self.tasks[bar.stage] = self.progress.add_task(f"{bar.stage:<{WIDTH}}", total=bar.total, text=text)
        self.progress.update(self.tasks[bar.stage], completed=bar.done, total=bar.total, text=text)
        if bar.done >= bar.total:
            self._end(bar.stage)

    def _end(self, stage: str) -> None:
        self.progress.remove_task(self.tasks.pop(stage))
        if not self.tasks:
            self.close()

    def close(self) -> None:
        """Remove all bars, and give the terminal back as it was."""
        if self.progress is not None:
            self.progress.stop()
        self.progress, self.tasks = None, {}


screen = Screen()


def _screen() -> Screen:
    return screen


output: Callable[[str], object] = screen.show  # workers on a cluster replace it, to send their lines to the driver


def in_terminal() -> bool:
    """Whether standard output is a terminal that can redraw lines."""
    if screen.progress is not None:  # rich has taken the place of standard output
        return True
    if not sys.stdout.isatty():
        return False
    from rich.console import Console

    return not Console().is_dumb_terminal


def title(stage: str) -> str:
    return f"{stage:<{WIDTH}} "


def say(stage: str, text: str) -> None:
    """Print a line about a stage."""
    output(title(stage) + text)


def tell(lines: Iterable[str]) -> None:
    """Print lines that are about no stage, such as a table."""
    for line in lines:
        output(line)


def duration(seconds: float) -> str:
    """Seconds in human-readable form: 7 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def speed(rate: float) -> str:
    """A rate per second in human-readable form: 1,204/s, 3.5/s, 13 s each."""
    if rate < 1:
        return f"{duration(1 / rate)} each"
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def size(count: float) -> str:
    """Bytes in human-readable form: 870 B, 14 kB, 3.2 GB."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.0f} {units[0]}" if count >= 10 or units[0] == "B" else f"{count:.1f} {units[0]}"


class Progress:
    """Shows the progress of a stage: as a bar in a terminal, else as a line at most every `every` seconds.

    Args:
        total: the number of items.
        unit: what the items are, such as "images".
        done: the number of items that an earlier attempt had done; they do not count for the speed.
    """

    def __init__(self, stage: str, total: int, unit: str, *, done: int = 0, every: float = 2.0) -> None:
        self.stage, self.total, self.unit, self.first, self.every = stage, total, unit, done, every
        self.started = self.last_time = time.monotonic()
        if self._drawn():
            self._tell(done, "")

    def update(self, done: int, note: str = "") -> None:
        """Report that `done` of the items are done; shows it if it is time to."""
        now = time.monotonic()
        if self._drawn():
            if done >= self.total or now - self.last_time >= 0.1:
                self.last_time = now
                self._tell(done, note)
        elif now - self.last_time >= self.every and self.first < done < self.total:
            self.last_time = now
            self._tell(done, note)

    def _drawn(self) -> bool:
        return output == screen.show and in_terminal()

    def _tell(self, done: int, note: str) -> None:
        share = f"{done:,}/{self.total:,} {self.unit}  {100 * done / max(self.total, 1):3.0f} %"
        parts = [share]
        if self.first < done and (seconds := time.monotonic() - self.started) > 0:
            rate = (done - self.first) / seconds
            parts += [speed(rate), f"{duration((self.total - done) / rate)} left"]
        text = "  ".join(filter(None, [*parts, note]))
        output(Line.of(title(self.stage) + text, Bar(self.stage, done, self.total)))
