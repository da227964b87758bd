"""Progress lines: stage, progress, speed and remaining time; plain lines, which are readable in any log."""

import time
from collections.abc import Callable


def _print(line: str) -> None:
    print(line, flush=True)


output: Callable[[str], object] = _print  # workers on a cluster replace it, to send their lines to the driver


def say(stage: str, text: str) -> None:
    """Print a line about a stage."""
    output(f"{stage:<38} {text}")


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


class Progress:
    """Prints the progress of a stage, at most every `every` seconds.

    Args:
        total: the number of items.
        unit: what the items are, such as "images".
        done: the number of items that an earlier attempt had done; they do not count for the speed.
    """

    def __init__(self, stage: str, total: int, unit: str, *, done: int = 0, every: float = 2.0) -> None:
        self.stage, self.total, self.unit, self.first, self.every = stage, total, unit, done, every
        self.started = self.last_time = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        """Report that `done` of the items are done; prints a line if it is time for one."""
        now = time.monotonic()
        if now - self.last_time < self.every or not self.first < done < self.total:
            return
        self.last_time = now
        rate = (done - self.first) / (now - self.started)
        share = f"{done:,}/{self.total:,} {self.unit}  {100 * done / self.total:3.0f} %"
        say(self.stage, "  ".join(filter(None, [share, speed(rate), f"{duration((self.total - done) / rate)} left", note])))
